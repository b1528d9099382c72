-- Change dialogues whose traces have got spans since. Whatever a user has said about an answer stays.
-- Formatted in: stage, columns, values (the same columns of the stage).
UPDATE ai_dialogue_log AS dialogue
SET ({columns}) = ROW ({values})
FROM {stage} AS staged
JOIN dialogue_traces AS trace ON trace.dialogue_id = staged.id
WHERE dialogue.id = staged.id AND dialogue.created_at = trace.created_at
RETURNING dialogue.id
