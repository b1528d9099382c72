-- Number of dialogues that took place between two moments.
-- $1 from  $2 up to, but not including, both UTC
SELECT count(*) AS dialogues FROM ai_dialogue_log WHERE created_at >= $1 AND created_at < $2
