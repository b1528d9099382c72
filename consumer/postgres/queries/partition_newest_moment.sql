-- The time of the newest dialogue that is not dated in the future. NULL if there is none.
SELECT max(created_at) AS newest
FROM ai_dialogue_log
WHERE created_at > '-infinity' AND created_at <= now() AT TIME ZONE 'UTC'
