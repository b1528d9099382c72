-- A stored day, with the figure that has no column in rag_metrics_history.
-- $1 day
SELECT history.*, computed.ingest_delay_p95
FROM rag_metrics_history AS history
LEFT JOIN computed_days AS computed ON computed.day = date(history.date)
WHERE date(history.date) = $1::text::date
