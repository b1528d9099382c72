-- Open dead letters by reason, with the time of the first.
SELECT reason, count(*) AS records, min(dead_lettered_at) AS since
FROM dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL
GROUP BY reason
ORDER BY count(*) DESC, reason
