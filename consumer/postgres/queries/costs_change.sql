-- Change the costs of dialogues.
-- $1 dialogues  $2 when they took place  $3 costs in yen, null if not known
UPDATE ai_dialogue_log AS dialogue
SET token_cost_jpy = changed.jpy
FROM unnest($1::uuid[], $2::timestamp[], $3::numeric[]) AS changed (id, created_at, jpy)
WHERE dialogue.id = changed.id AND dialogue.created_at = changed.created_at
