-- The newest days up to today, newest first.
-- $1 today  $2 how many at most
SELECT
    date(date) AS day, total_dialogues, unique_users, citation_rate, latency_p50, latency_p95, latency_p99,
    total_cost, cost_per_answer, slo_compliance, computed_at
FROM rag_metrics_history
WHERE date < $1::text::date + 1
ORDER BY date DESC
LIMIT $2
