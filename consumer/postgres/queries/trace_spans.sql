-- The staged spans and log events of traces.
-- $1 traces
SELECT trace_id, user_id, is_log, resource, content FROM staged_spans WHERE trace_id = ANY ($1::uuid[])
