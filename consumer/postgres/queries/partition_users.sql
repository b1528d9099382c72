-- The users who have dialogues in a table.
-- {table}
SELECT DISTINCT user_id FROM {table}
