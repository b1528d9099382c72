-- The third daily query: users.
-- $1, $2 the first and the last moment
SELECT count(DISTINCT user_id) AS unique_users FROM ai_dialogue_log WHERE created_at BETWEEN $1 AND $2
