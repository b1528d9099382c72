-- Open dead letters by reason, and since when.
SELECT reason, count(*) AS records, min(dead_lettered_at) AS since
FROM dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL
GROUP BY reason
ORDER BY count(*) DESC, reason
