-- Settle the open dead letters of traces that have become dialogues after all.
-- $1 topic  $2 partition that stands for traces  $3 traces, as numbers
UPDATE dead_letters
SET replayed_at = now()
WHERE topic = $1 AND partition = $2 AND record_offset = ANY ($3::bigint[])
  AND replayed_at IS NULL AND discarded_at IS NULL
