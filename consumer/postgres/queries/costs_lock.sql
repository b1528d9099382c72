-- Lock dialogues before their costs, as a deletion does, and in an order.
-- $1 dialogues  $2 when they took place
SELECT id
FROM ai_dialogue_log
WHERE id = ANY ($1::uuid[]) AND created_at = ANY ($2::timestamp[])
ORDER BY id
FOR NO KEY UPDATE
