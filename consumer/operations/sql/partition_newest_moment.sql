-- When the newest dialogue took place that is not dated in the future; NULL where there is none.
SELECT max(created_at) AS newest
FROM ai_dialogue_log
WHERE created_at > '-infinity' AND created_at <= now() AT TIME ZONE 'UTC'
