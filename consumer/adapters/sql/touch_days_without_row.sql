-- Mark days that have no row yet; one that has a row of another basis is noticed by that.
-- $1 days
INSERT INTO touched_days (day)
SELECT wanted.day
FROM unnest($1::date[]) AS wanted (day)
WHERE NOT EXISTS (SELECT FROM rag_metrics_history WHERE date(date) = wanted.day)
