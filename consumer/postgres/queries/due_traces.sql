-- Traces to be folded, oldest mark first: quiet ones, and those whose root has come. A trace whose root has come and that
-- was tried since its newest mark has to become quiet first. `marks` are those that this fold answers for: a mark that is
-- committed later stays.
-- $1 seconds of quiet  $2 at most  $3 traces that were tried  $4 the newest mark of each then
SELECT trace_id, marks, is_quiet
FROM (
    SELECT
        trace_id, array_agg(id) AS marks, min(id) AS oldest, max(id) AS newest, bool_or(has_root) AS has_root,
        max(touched_at) <= clock_timestamp() - $1::float8 * interval '1 second' AS is_quiet
    FROM touched_traces
    GROUP BY trace_id
) AS touched
LEFT JOIN unnest($3::uuid[], $4::bigint[]) AS tried (trace_id, newest) USING (trace_id, newest)
WHERE is_quiet OR (has_root AND tried.trace_id IS NULL)
ORDER BY oldest
LIMIT $2
