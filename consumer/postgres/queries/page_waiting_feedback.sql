-- The next waiting verdicts, in order of their dialogues: the last dialogue, and the dialogues that are there.
-- $1 from this dialogue on  $2 at most
WITH waiting AS MATERIALIZED (
    SELECT dialogue_id AS id
    FROM kept_feedback
    WHERE applied_at IS NULL AND dialogue_id >= $1
    ORDER BY dialogue_id
    LIMIT $2
)
SELECT
    (SELECT id FROM waiting ORDER BY id DESC LIMIT 1) AS last,
    ARRAY(SELECT id FROM waiting WHERE EXISTS (SELECT FROM ai_dialogue_log AS row WHERE row.id = waiting.id)) AS present
