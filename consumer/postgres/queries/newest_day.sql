-- The newest row of daily aggregates.
SELECT * FROM rag_metrics_history ORDER BY date DESC LIMIT 1
