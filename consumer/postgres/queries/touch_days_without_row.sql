-- Mark days that have no row yet. A day whose row has another basis needs no mark: its basis shows that it is due.
-- $1 days
INSERT INTO touched_days (day)
SELECT wanted.day
FROM unnest($1::date[]) AS wanted (day)
WHERE NOT EXISTS (SELECT FROM rag_metrics_history WHERE date(date) = wanted.day)
