-- Statements about ingest_ledger and ledger_decisions.


-- name: claim
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


-- name: decision_begin_anew
-- Close the books, which the decision keeps, and begin new ones. The epoch goes up and the row has no owner. So the
-- replica that reads the partition now is fenced, and may claim it again at once.
-- $1 group  $2 topic  $3 partition  $4 first offset of the new books  $5 id of the topic from now on
-- $6 epoch of the partition's leader, null if no broker reports it
UPDATE ingest_ledger
SET start_offset = $4::bigint,
    next_offset = $4::bigint,
    inserted = 0,
    duplicates = 0,
    amended = 0,
    dead_lettered = 0,
    ignored = 0,
    gaps = 0,
    topic_id = $5::uuid,
    leader_epoch = $6::int,
    leader_epoch_at = $4::bigint,
    stopped_at = NULL,
    stopped_because = NULL,
    resume_from = NULL,
    unreadable_from = NULL,
    unreadable_until = NULL,
    diverges_at = NULL,
    epoch = epoch + 1,
    owner = NULL,
    updated_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3


-- name: decision_books
-- The books of one partition, locked so that nobody moves them until the decision is written.
-- $1 group  $2 topic  $3 partition
SELECT
    start_offset, next_offset, inserted, duplicates, amended, dead_lettered, ignored, gaps, topic_id,
    CASE WHEN leader_epoch_at = next_offset THEN leader_epoch END AS leader_epoch,
    stopped_because, resume_from, unreadable_from, unreadable_until, diverges_at
FROM ingest_ledger
WHERE consumer_group = $1 AND topic = $2 AND partition = $3
FOR UPDATE


-- name: decision_keep
-- Store the decision, with the present books.
-- $1 group  $2 topic  $3 partition  $4 who  $5 why  $6 what was wrong  $7 to offset  $8 whether new books begin
-- $9 id of the topic from now on  $10 readable offsets given up
INSERT INTO ledger_decisions (
    consumer_group, topic, partition, decided_by, reason, problem, from_offset, to_offset, begins_anew,
    start_offset, inserted, duplicates, amended, dead_lettered, ignored, gaps, topic_id_before, topic_id_after, given_up
)
SELECT
    consumer_group, topic, partition, $4::text || ', database role ' || current_user, $5::text, $6::text,
    next_offset, $7::bigint, $8::boolean,
    start_offset, inserted, duplicates, amended, dead_lettered, ignored, gaps, topic_id, $9::uuid, $10::bigint
FROM ingest_ledger
WHERE consumer_group = $1 AND topic = $2 AND partition = $3


-- name: decision_skip
-- Move forward under the same books. The skipped offsets count as gaps. The epoch goes up and the row has no owner. So
-- the replica that reads the partition now is fenced, and may claim it again at once.
-- $1 group  $2 topic  $3 partition  $4 to offset  $5 id of the topic from now on
-- $6 epoch of the partition's leader, null if no broker reports it
UPDATE ingest_ledger
SET gaps = gaps + ($4::bigint - next_offset),
    next_offset = $4::bigint,
    topic_id = $5::uuid,
    leader_epoch = $6::int,
    leader_epoch_at = $4::bigint,
    stopped_at = NULL,
    stopped_because = NULL,
    resume_from = NULL,
    unreadable_from = NULL,
    unreadable_until = NULL,
    diverges_at = NULL,
    epoch = epoch + 1,
    owner = NULL,
    updated_at = now()
WHERE consumer_group = $1 AND topic = $2 AND partition = $3


-- name: decisions_list
-- The decisions of one consumer group, newest first.
-- $1 group
SELECT
    id, topic, partition, decided_at, decided_by, reason, problem, from_offset, to_offset, begins_anew, start_offset,
    inserted, duplicates, amended, dead_lettered, ignored, gaps, topic_id_before, topic_id_after, given_up
FROM ledger_decisions
WHERE consumer_group = $1
ORDER BY id DESC


-- name: end_silent_writers
-- End our sessions that are inside a COPY and receive nothing from their client. The client is a frozen replica, and
-- its rows would make us wait until it wakes up. No time limit of PostgreSQL applies while a session reads from its
-- client. If a healthy writer is ended by mistake, it only tries again.
-- $1 seconds of silence
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE datname = current_database()
  AND usename = current_user
  AND application_name = 'ragledger'
  AND pid <> pg_backend_pid()
  AND state = 'active'
  AND wait_event = 'ClientRead'
  AND query_start < now() - $1::float8 * interval '1 second'


-- name: free_in_ledger
-- The given partitions whose rows no other transaction holds.
-- $1 group  $2 topics  $3 partitions
SELECT ledger.topic, ledger.partition
FROM ingest_ledger AS ledger
JOIN unnest($2::text[], $3::int[]) AS wanted (topic, partition) USING (topic, partition)
WHERE ledger.consumer_group = $1
FOR UPDATE OF ledger SKIP LOCKED


-- name: ledger_read
-- The ledger of one consumer group, and whether its equation holds in each row.
-- $1 group
SELECT
    topic, partition, start_offset, next_offset, inserted, duplicates, amended, dead_lettered, ignored, gaps, epoch, owner,
    updated_at, topic_id, stopped_at,
    CASE WHEN leader_epoch_at = next_offset THEN leader_epoch END AS leader_epoch,
    stopped_because, resume_from, unreadable_from, unreadable_until, diverges_at,
    next_offset - start_offset = inserted + duplicates + amended + dead_lettered + ignored + gaps AS holds
FROM ingest_ledger
WHERE consumer_group = $1
ORDER BY topic, partition


-- name: move_ledger
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


-- name: read_ledger
-- The ledger's position in these partitions, and the owner that may move it. A null owner means nobody yet.
-- $1 group  $2 topics  $3 partitions
SELECT ledger.topic, ledger.partition, ledger.epoch, ledger.next_offset, ledger.owner
FROM ingest_ledger AS ledger
JOIN unnest($2::text[], $3::int[]) AS wanted (topic, partition) USING (topic, partition)
WHERE ledger.consumer_group = $1


-- name: stop_partition
-- Record that a partition has stopped, and why: only after everything before the stop is committed, and only if no
-- other replica has claimed the partition since. An already recorded reason stays, and is returned. A row that another
-- transaction holds is left for the next attempt, so that it does not delay the stops of the other partitions.
-- $1 group  $2 topic  $3 partition  $4 epoch  $5 offset of the stop
-- $6 reason  $7 target to continue at  $8 first unreadable offset  $9 the offset after the last one  $10 diverges at
WITH free AS (
    SELECT consumer_group, topic, partition
    FROM ingest_ledger
    WHERE consumer_group = $1 AND topic = $2 AND partition = $3 AND epoch = $4 AND next_offset = $5
    FOR UPDATE SKIP LOCKED
)
UPDATE ingest_ledger
SET stopped_at = coalesce(stopped_at, now()),
    stopped_because = CASE WHEN stopped_at IS NULL THEN $6 ELSE stopped_because END,
    resume_from = CASE WHEN stopped_at IS NULL THEN $7 ELSE resume_from END,
    unreadable_from = CASE WHEN stopped_at IS NULL THEN $8::bigint ELSE unreadable_from END,
    unreadable_until = CASE WHEN stopped_at IS NULL THEN $9::bigint ELSE unreadable_until END,
    diverges_at = CASE WHEN stopped_at IS NULL THEN $10::bigint ELSE diverges_at END
WHERE (consumer_group, topic, partition) = (SELECT consumer_group, topic, partition FROM free)
RETURNING stopped_because, resume_from, unreadable_from, unreadable_until, diverges_at
