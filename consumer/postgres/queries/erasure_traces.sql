-- Delete which traces the dialogues of a user came from.
-- $1 user  $2 at most
DELETE FROM dialogue_traces
WHERE dialogue_id IN (SELECT dialogue_id FROM dialogue_traces WHERE user_id = $1 LIMIT $2)
RETURNING dialogue_id
