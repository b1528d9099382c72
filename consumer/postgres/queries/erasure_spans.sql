-- Empty staged spans of traces of a user: of every span of the trace, as the user may be named by another one. That they
-- were there is kept, so that a span that comes later is emptied too.
-- $1 user  $2 traces at most
WITH named AS (
    SELECT DISTINCT trace_id
    FROM (
        SELECT trace_id FROM staged_spans WHERE user_id = $1
        UNION ALL
        SELECT dialogue_id FROM dialogue_traces WHERE user_id = $1
    ) AS of_user
    WHERE EXISTS (SELECT FROM staged_spans AS span WHERE span.trace_id = of_user.trace_id AND span.content <> '')
    LIMIT $2
)
UPDATE staged_spans
SET user_id = NULL, is_outline = true, resource = '', content = ''
WHERE trace_id IN (SELECT trace_id FROM named) AND content <> ''
RETURNING id
