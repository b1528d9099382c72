-- Those of the partitions whose rows no other transaction holds.
-- $1 group  $2 topics  $3 partitions
SELECT ledger.topic, ledger.partition
FROM ingest_ledger AS ledger
JOIN unnest($2::text[], $3::int[]) AS wanted (topic, partition) USING (topic, partition)
WHERE ledger.consumer_group = $1
FOR UPDATE OF ledger SKIP LOCKED
