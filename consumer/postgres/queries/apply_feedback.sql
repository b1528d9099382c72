-- Write waiting verdicts into their dialogues, if these are there. Returns the time of each dialogue, and whether the
-- row was changed: a trigger of the owner may have left it out.
-- $1 dialogues
WITH waiting AS (
    SELECT dialogue_id, user_feedback
    FROM kept_feedback
    WHERE applied_at IS NULL AND dialogue_id = ANY($1::uuid[])
    ORDER BY dialogue_id
    FOR UPDATE
),
changed AS (
    UPDATE ai_dialogue_log AS dialogue
    SET user_feedback = waiting.user_feedback
    FROM waiting
    WHERE dialogue.id = waiting.dialogue_id
    RETURNING dialogue.id, dialogue.created_at
),
settled AS (
    UPDATE kept_feedback AS feedback
    SET applied_at = now()
    FROM changed
    WHERE feedback.dialogue_id = changed.id
)
SELECT dialogue.created_at, changed.id IS NOT NULL AS is_changed
FROM waiting
JOIN ai_dialogue_log AS dialogue ON dialogue.id = waiting.dialogue_id
LEFT JOIN changed ON changed.id = dialogue.id
