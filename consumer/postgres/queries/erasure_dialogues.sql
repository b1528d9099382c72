-- Delete dialogues of a user, by id and time, so that a partitioned table searches only the partitions concerned.
-- {table}  $1 user  $2 at most
WITH chosen AS (SELECT id, created_at FROM {table} WHERE user_id = $1 LIMIT $2)
DELETE FROM {table} AS dialogue
USING chosen
WHERE dialogue.id = chosen.id AND dialogue.created_at = chosen.created_at
RETURNING dialogue.id, dialogue.created_at
