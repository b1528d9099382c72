-- Who has dialogues in a table.
-- {table}
SELECT DISTINCT user_id FROM {table}
