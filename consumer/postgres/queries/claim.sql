-- Claim partitions. The epoch goes up, so the previous owner can no longer move the ledger. The ledger belongs to one
-- topic. If its topic id is unknown so far, it takes the id of the present topic. In the same way it takes the leader
-- epoch under which the log is known to hold the records that were read. This epoch is unknown if a version without
-- leader epochs has moved the ledger since. A row that another transaction holds is left out, so that it does not delay
-- the claims of the other partitions.
-- $1 group  $2 owner  $3 topics  $4 partitions  $5 first offset of a partition never seen before
-- $6 ids of the topics  $7 epochs of the partitions' leaders, each null if no broker reports it
WITH wanted AS (
    SELECT *
    FROM unnest($3::text[], $4::int[], $5::bigint[], $6::uuid[], $7::int[])
        AS wanted (topic, partition, begin_at, topic_id, leader_epoch)
),
free AS (
    SELECT ledger.topic, ledger.partition
    FROM ingest_ledger AS ledger
    JOIN wanted USING (topic, partition)
    WHERE ledger.consumer_group = $1
    ORDER BY ledger.topic, ledger.partition
    FOR UPDATE OF ledger SKIP LOCKED
)
INSERT INTO ingest_ledger AS ledger
    (consumer_group, topic, partition, start_offset, next_offset, epoch, owner, topic_id, leader_epoch, leader_epoch_at,
     updated_at)
SELECT
    $1, wanted.topic, wanted.partition, wanted.begin_at, wanted.begin_at, 1, $2,
    wanted.topic_id, wanted.leader_epoch, wanted.begin_at, now()
FROM wanted
LEFT JOIN free USING (topic, partition)
WHERE free.topic IS NOT NULL
   OR NOT EXISTS (
        SELECT FROM ingest_ledger AS known
        WHERE known.consumer_group = $1 AND known.topic = wanted.topic AND known.partition = wanted.partition
    )
ORDER BY wanted.topic, wanted.partition
ON CONFLICT (consumer_group, topic, partition)
DO UPDATE SET
    epoch = ledger.epoch + 1,
    owner = excluded.owner,
    topic_id = coalesce(ledger.topic_id, excluded.topic_id),
    leader_epoch = coalesce(
        CASE WHEN ledger.leader_epoch_at = ledger.next_offset THEN ledger.leader_epoch END, excluded.leader_epoch
    ),
    leader_epoch_at = ledger.next_offset,
    updated_at = now()
RETURNING
    topic, partition, epoch, next_offset, topic_id, leader_epoch,
    stopped_because, resume_from, unreadable_from, unreadable_until, diverges_at
