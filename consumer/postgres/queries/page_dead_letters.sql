-- The newest open dead letters by topic and reason: counts and times, never content. The index on open dead letters
-- limits the work, however many there are.
-- $1 how many dead letters to look at
SELECT topic, reason, count(*) AS records, min(dead_lettered_at) AS first, max(dead_lettered_at) AS last
FROM (
    SELECT topic, reason, dead_lettered_at
    FROM dead_letters
    WHERE replayed_at IS NULL AND discarded_at IS NULL
    ORDER BY dead_lettered_at DESC
    LIMIT $1
) AS newest
GROUP BY topic, reason
ORDER BY last DESC, topic, reason
LIMIT 50
