-- Days that have rows in a partition but none in rag_metrics_history. Archiving would lose their figures.
-- {partition}  $1 business time zone
SELECT (created_at AT TIME ZONE 'UTC' AT TIME ZONE $1)::date AS day FROM {partition}
EXCEPT
SELECT date::date FROM rag_metrics_history
ORDER BY day
