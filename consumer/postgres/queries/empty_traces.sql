-- Empty the staged spans of traces whose user was erased. That they were there is kept, so that a span that comes later
-- is emptied too.
-- $1 traces
UPDATE staged_spans
SET user_id = NULL, is_outline = true, resource = '', content = ''
WHERE trace_id = ANY ($1::uuid[]) AND content <> ''
