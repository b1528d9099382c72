-- A user's dialogues in one table.
-- {table}  $1 user
SELECT id, created_at FROM {table} WHERE user_id = $1
