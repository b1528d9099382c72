-- Take over partitions: the epoch goes up, so whoever had them before can move the ledger no more.
-- $1 group  $2 owner  $3 topics  $4 partitions  $5 where to begin with a partition never seen before
INSERT INTO ingest_ledger AS ledger
    (consumer_group, topic, partition, start_offset, next_offset, epoch, owner, updated_at)
SELECT $1, wanted.topic, wanted.partition, wanted.begin_at, wanted.begin_at, 1, $2, now()
FROM unnest($3::text[], $4::int[], $5::bigint[]) AS wanted (topic, partition, begin_at)
ORDER BY wanted.topic, wanted.partition
ON CONFLICT (consumer_group, topic, partition)
DO UPDATE SET epoch = ledger.epoch + 1, owner = excluded.owner, updated_at = now()
RETURNING topic, partition, epoch, next_offset
