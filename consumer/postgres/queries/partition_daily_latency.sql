-- The second daily query: percentiles of the latency.
-- $1, $2 the first and the last moment
SELECT
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) AS p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS p95,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY latency_ms) AS p99
FROM ai_dialogue_log
WHERE created_at BETWEEN $1 AND $2 AND latency_ms IS NOT NULL
