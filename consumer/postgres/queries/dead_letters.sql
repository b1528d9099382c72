-- Statements about dead_letters.


-- name: dead_letters_discard
-- Discard the next open dead letters. The records stay, because the audit needs them.
-- $1 ids or null for all  $2 topic or null  $3 reason or null  $4 since or null  $5 until or null
-- $6 ids greater than this  $7 up to this one  $8 at most
WITH chosen AS (
  SELECT id
  FROM dead_letters
  WHERE replayed_at IS NULL AND discarded_at IS NULL
    AND ($1::bigint[] IS NULL OR id = ANY ($1))
    AND ($2::text IS NULL OR topic = $2)
    AND ($3::text IS NULL OR reason = $3)
    AND ($4::timestamptz IS NULL OR dead_lettered_at >= $4)
    AND ($5::timestamptz IS NULL OR dead_lettered_at < $5)
    AND id > $6 AND id <= $7
  ORDER BY id
  LIMIT $8
  FOR UPDATE
), settled AS (
  UPDATE dead_letters SET discarded_at = now() FROM chosen WHERE dead_letters.id = chosen.id RETURNING dead_letters.id
)
SELECT count(*) AS discarded, max(id) AS last_id FROM settled


-- name: dead_letters_empty
-- Empty dead letters that name an erased user. They keep only what reading the record again would keep.
-- $1 ids  $2 detail
UPDATE dead_letters
SET key = NULL, value = NULL, headers = '[]', sqlstate = NULL, reason = 'erased_user', detail = $2::jsonb,
    discarded_at = CASE WHEN replayed_at IS NULL THEN coalesce(discarded_at, now()) END
WHERE id = ANY ($1::bigint[]) AND reason <> 'erased_user'
RETURNING id


-- name: dead_letters_failed_again
-- Store the newest reason of dead letters that failed again.
-- $1 ids  $2 reasons  $3 details  $4 SQLSTATEs
UPDATE dead_letters
SET reason = again.reason, detail = again.detail, sqlstate = again.sqlstate
FROM unnest($1::bigint[], $2::text[], $3::jsonb[], $4::text[]) AS again (id, reason, detail, sqlstate)
WHERE dead_letters.id = again.id


-- name: dead_letters_list
-- Dead letters, newest first.
-- $1 topic or null  $2 reason or null  $3 since or null  $4 until or null  $5 settled ones too  $6 at most
SELECT
    id, topic, partition, record_offset, record_timestamp, reason, detail, sqlstate, dead_lettered_at, replayed_at,
    discarded_at, octet_length(value) AS value_bytes
FROM dead_letters
WHERE ($1::text IS NULL OR topic = $1)
  AND ($2::text IS NULL OR reason = $2)
  AND ($3::timestamptz IS NULL OR dead_lettered_at >= $3)
  AND ($4::timestamptz IS NULL OR dead_lettered_at < $4)
  AND ($5 OR (replayed_at IS NULL AND discarded_at IS NULL))
ORDER BY id DESC
LIMIT $6


-- name: dead_letters_missing
-- Whether any of these records has no dead letter.
-- $1 topics  $2 partitions  $3 offsets
SELECT EXISTS (
    SELECT FROM unnest($1::text[], $2::int[], $3::bigint[]) AS letter (topic, partition, record_offset)
    WHERE NOT EXISTS (
        SELECT FROM dead_letters AS kept
        WHERE kept.topic = letter.topic
          AND kept.partition = letter.partition
          AND kept.record_offset = letter.record_offset
    )
) AS missing


-- name: dead_letters_over_limit
-- The partitions in which too many of the newest offsets became dead letters. Dead letters from before the last
-- decision do not count again. Dead letters of erased users do not count: nothing shows that they could not have been
-- stored.
-- $1 group  $2 topics  $3 partitions  $4 share allowed  $5 offsets looked at  $6 dead letters at least
WITH newest AS (
    SELECT
        ledger.topic,
        ledger.partition,
        ledger.next_offset,
        greatest(ledger.start_offset, ledger.next_offset - $5::bigint, decision.to_offset) AS first_offset,
        decision.decided_at
    FROM ingest_ledger AS ledger
    JOIN unnest($2::text[], $3::int[]) AS moved (topic, partition) USING (topic, partition)
    LEFT JOIN LATERAL (
        SELECT to_offset, decided_at
        FROM ledger_decisions AS decided
        WHERE decided.consumer_group = ledger.consumer_group
          AND decided.topic = ledger.topic
          AND decided.partition = ledger.partition
        ORDER BY id DESC
        LIMIT 1
    ) AS decision ON true
    WHERE ledger.consumer_group = $1 AND ledger.stopped_at IS NULL
)
SELECT newest.topic, newest.partition, newest.next_offset - newest.first_offset AS offsets, dead.letters
FROM newest
CROSS JOIN LATERAL (
    SELECT count(*) AS letters
    FROM dead_letters AS letter
    WHERE letter.topic = newest.topic
      AND letter.partition = newest.partition
      AND letter.record_offset >= newest.first_offset
      AND letter.record_offset < newest.next_offset
      AND letter.reason <> 'erased_user'
      AND (newest.decided_at IS NULL OR letter.dead_lettered_at >= newest.decided_at)
) AS dead
WHERE dead.letters >= $6::bigint
  AND dead.letters > $4::float8 * (newest.next_offset - newest.first_offset)


-- name: dead_letters_read
-- The records of dead letters that this transaction has locked.
-- $1 ids
SELECT
    id, topic, partition, record_offset, key, value, headers, reason, detail,
    CASE
        WHEN record_timestamp_ms IS NOT NULL THEN record_timestamp_ms
        WHEN isfinite(record_timestamp) THEN round(extract(epoch FROM record_timestamp) * 1000)::bigint
        ELSE 9223372036854775807  -- kept before record_timestamp_ms was there
    END AS record_timestamp
FROM dead_letters
WHERE id = ANY ($1::bigint[])
ORDER BY id


-- name: dead_letters_replayed
-- Mark dead letters as replayed.
-- $1 ids
UPDATE dead_letters SET replayed_at = now() WHERE id = ANY ($1::bigint[])


-- name: dead_letters_show
-- One complete dead letter.
-- $1 id
SELECT * FROM dead_letters WHERE id = $1


-- name: dead_letters_take
-- Lock the next open dead letters for a replay. A concurrent replay takes others.
-- $1 ids or null for all  $2 topic or null  $3 reason or null  $4 since or null  $5 until or null
-- $6 ids greater than this  $7 at most
SELECT id, coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0) AS bytes
FROM dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL
  AND ($1::bigint[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR topic = $2)
  AND ($3::text IS NULL OR reason = $3)
  AND ($4::timestamptz IS NULL OR dead_lettered_at >= $4)
  AND ($5::timestamptz IS NULL OR dead_lettered_at < $5)
  AND id > $6
ORDER BY id
LIMIT $7
FOR UPDATE SKIP LOCKED


-- name: insert_dead_letters
-- Keep records that cannot be stored, with the reason. If a timestamp is beyond the years that clients can read, it has
-- another unit: it is read as microseconds, or else as nanoseconds, and its original value is kept in a column of its
-- own. A record that names an erased user is already discarded, because nobody has to decide about it.
-- $1 topics  $2 partitions  $3 offsets  $4 timestamps (ms)  $5 keys  $6 values  $7 headers  $8 reasons
-- $9 details  $10 SQLSTATEs
INSERT INTO dead_letters
    (
        topic, partition, record_offset, record_timestamp, record_timestamp_ms, key, value, headers, reason, detail,
        sqlstate, discarded_at
    )
SELECT
    topic, partition, record_offset,
    'epoch'::timestamptz + CASE
        WHEN milliseconds BETWEEN -62135596800000 AND 253402300799999 THEN milliseconds * interval '1 millisecond'
        WHEN milliseconds BETWEEN -62135596800000000 AND 253402300799999999 THEN milliseconds * interval '1 microsecond'
        ELSE milliseconds / 1000 * interval '1 microsecond'
    END,
    CASE WHEN milliseconds NOT BETWEEN -62135596800000 AND 253402300799999 THEN milliseconds END,
    key, value, headers, reason, detail, sqlstate,
    CASE WHEN reason = 'erased_user' THEN now() END
FROM unnest(
    $1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::jsonb[], $8::text[],
    $9::jsonb[], $10::text[]
) AS letter (
    topic, partition, record_offset, milliseconds, key, value, headers, reason, detail, sqlstate
)
ORDER BY topic, partition, record_offset
ON CONFLICT (topic, partition, record_offset, record_timestamp) DO NOTHING
