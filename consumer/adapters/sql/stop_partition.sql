-- Keep that a partition has stopped, and why, unless that is kept already or another reader has claimed it since.
-- $1 group  $2 topic  $3 partition  $4 epoch  $5 why
UPDATE ingest_ledger
SET stopped_at = now(), stopped_because = $5
WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND stopped_at IS NULL
