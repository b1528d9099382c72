-- Delete the kept verdicts on these dialogues.
-- $1 dialogues
DELETE FROM kept_feedback WHERE dialogue_id = ANY ($1::uuid[]) RETURNING dialogue_id
