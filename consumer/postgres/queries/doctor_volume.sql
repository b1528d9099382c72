-- The number of dialogues on the busiest whole day of the last week.
-- $1 business time zone
SELECT max(total_dialogues) AS dialogues
FROM rag_metrics_history
WHERE date(date) BETWEEN (now() AT TIME ZONE $1::text)::date - 7 AND (now() AT TIME ZONE $1::text)::date - 1
