-- Delete dialogues of a user. By id and time, so that a partitioned table looks into the partitions concerned only.
-- $1 user  $2 at most
WITH chosen AS (SELECT id, created_at FROM ai_dialogue_log WHERE user_id = $1 LIMIT $2)
DELETE FROM ai_dialogue_log
USING chosen
WHERE ai_dialogue_log.id = chosen.id AND ai_dialogue_log.created_at = chosen.created_at
RETURNING ai_dialogue_log.id, ai_dialogue_log.created_at
