-- What is known of the dialogues that traces have become.
-- $1 traces
SELECT dialogue_id, created_at, content_hash, closed_at IS NOT NULL AS is_closed
FROM dialogue_traces
WHERE dialogue_id = ANY ($1::uuid[])
