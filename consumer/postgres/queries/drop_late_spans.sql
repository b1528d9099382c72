-- Drop spans that came after their trace was closed: they change nothing any more.
-- $1 traces
DELETE FROM staged_spans WHERE trace_id = ANY ($1::uuid[])
