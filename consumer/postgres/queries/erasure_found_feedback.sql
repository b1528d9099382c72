-- Number of kept verdicts on a user's dialogues.
-- dialogues: erasure_of_user.sql for every table  $1 user
SELECT count(*) AS feedback
FROM kept_feedback
WHERE dialogue_id IN (SELECT id FROM ({dialogues}) AS dialogue)
