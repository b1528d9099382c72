-- Mark traces that have new spans, so that they are folded. Marks are only added, so flushes never wait.
-- $1 traces  $2 whether each one's root is among the spans
INSERT INTO touched_traces (trace_id, has_root) SELECT * FROM unnest($1::uuid[], $2::boolean[])
