-- Days that have rows in a partition, and none in rag_metrics_history: their figures would be lost.
-- {partition}  $1 business time zone
SELECT (created_at AT TIME ZONE 'UTC' AT TIME ZONE $1)::date AS day FROM {partition}
EXCEPT
SELECT date::date FROM rag_metrics_history
ORDER BY day
