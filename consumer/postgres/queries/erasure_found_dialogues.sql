-- Number of dialogues of a user, each counted once.
-- dialogues: erasure_of_user.sql for every table  $1 user
SELECT count(DISTINCT id) AS dialogues FROM ({dialogues}) AS dialogue
