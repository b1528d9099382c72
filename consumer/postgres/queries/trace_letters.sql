-- The dead letters of traces.
-- $1 topic  $2 partition that stands for traces  $3 traces, as numbers
SELECT id FROM dead_letters WHERE topic = $1 AND partition = $2 AND record_offset = ANY ($3::bigint[])
