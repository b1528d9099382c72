-- The ledger's position in these partitions, and the owner that may move it. A null owner means nobody yet.
-- $1 group  $2 topics  $3 partitions
SELECT ledger.topic, ledger.partition, ledger.epoch, ledger.next_offset, ledger.owner
FROM ingest_ledger AS ledger
JOIN unnest($2::text[], $3::int[]) AS wanted (topic, partition) USING (topic, partition)
WHERE ledger.consumer_group = $1
