-- The first daily query: citations.
-- $1, $2 the first and the last moment
SELECT
    avg(CASE WHEN citations IS NOT NULL AND jsonb_array_length(citations) > 0 THEN 100.0 ELSE 0.0 END) AS citation_rate,
    sum(CASE WHEN citations IS NOT NULL THEN jsonb_array_length(citations) ELSE 0 END) AS citation_count
FROM ai_dialogue_log
WHERE created_at BETWEEN $1 AND $2
