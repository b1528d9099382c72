-- The busiest of the newest thirty days that were rolled up. No row if no day was.
SELECT total_dialogues AS rows_a_day, date::date AS day
FROM rag_metrics_history
WHERE date > (SELECT max(date) FROM rag_metrics_history) - interval '30 days'
ORDER BY total_dialogues DESC, date DESC
LIMIT 1
