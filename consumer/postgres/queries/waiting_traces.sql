-- Number of traces with spans that are not folded yet.
SELECT count(DISTINCT trace_id) AS waiting FROM touched_traces
