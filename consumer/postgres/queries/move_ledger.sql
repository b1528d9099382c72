-- Move the ledger over the offsets that this transaction has written. If another replica has claimed a row, or the row
-- is not at the offset at which this batch began, the row is not moved and not returned: the caller is fenced. Rows are
-- locked in order, so that two replicas with conflicting claims wait for each other instead of deadlocking.
-- $1 group  $2 topics  $3 partitions  $4 epochs  $5 expected offsets  $6 next offsets
-- $7 inserted  $8 duplicates  $9 amended  $10 dead-lettered  $11 ignored  $12 gaps
-- $13 leader epochs under which the logs are known to hold the records that were read, null if unknown
WITH moves AS (
    SELECT *
    FROM unnest(
        $2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
        $13::int[]
    ) AS move (
        topic, partition, epoch, expected_offset, next_offset,
        inserted, duplicates, amended, dead_lettered, ignored, gaps, leader_epoch
    )
),
held AS (
    SELECT ledger.topic, ledger.partition
    FROM ingest_ledger AS ledger
    JOIN moves USING (topic, partition)
    WHERE ledger.consumer_group = $1
      AND ledger.epoch = moves.epoch
      AND ledger.next_offset = moves.expected_offset
    ORDER BY ledger.topic, ledger.partition
    FOR UPDATE OF ledger
)
UPDATE ingest_ledger AS ledger
SET next_offset = moves.next_offset,
    inserted = ledger.inserted + moves.inserted,
    duplicates = ledger.duplicates + moves.duplicates,
    amended = ledger.amended + moves.amended,
    dead_lettered = ledger.dead_lettered + moves.dead_lettered,
    ignored = ledger.ignored + moves.ignored,
    gaps = ledger.gaps + moves.gaps,
    leader_epoch = moves.leader_epoch,
    leader_epoch_at = moves.next_offset,
    updated_at = now()
FROM moves JOIN held USING (topic, partition)
WHERE ledger.consumer_group = $1
  AND ledger.topic = moves.topic
  AND ledger.partition = moves.partition
RETURNING ledger.topic, ledger.partition
