-- Statements about the page of the service.


-- name: page_days
-- The newest days up to today, newest first.
-- $1 today  $2 how many at most
SELECT
    date(date) AS day, total_dialogues, unique_users, citation_rate, latency_p50, latency_p95, latency_p99,
    total_cost, cost_per_answer, slo_compliance, computed_at
FROM rag_metrics_history
WHERE date < $1::text::date + 1
ORDER BY date DESC
LIMIT $2


-- name: page_dead_letters
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


-- name: page_partitions
-- The ledger of a group: its position in each partition, and the number of records it has counted.
-- $1 group  $2 how many partitions at most
SELECT
    topic, partition, next_offset, inserted + duplicates + amended + dead_lettered + ignored AS records, owner, updated_at
FROM ingest_ledger
WHERE consumer_group = $1
ORDER BY topic, partition
LIMIT $2
