-- How many verdicts are kept on a user's dialogues.
-- $1 user
SELECT count(*) AS feedback
FROM kept_feedback
WHERE dialogue_id IN (SELECT id FROM ai_dialogue_log WHERE user_id = $1)
