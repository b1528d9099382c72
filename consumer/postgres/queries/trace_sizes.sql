-- How much is staged of each trace.
-- $1 traces
SELECT trace_id, count(*) AS spans, sum(octet_length(content))::bigint AS bytes, bool_or(content = '') AS is_erased
FROM staged_spans
WHERE trace_id = ANY ($1::uuid[])
GROUP BY trace_id
