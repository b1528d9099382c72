-- Statements about dialogue_retention and legal_holds, and about the removal of expired dialogues and dead letters.


-- name: dialogue_on_hold
-- Whether a legal hold that is in force at a moment covers a dialogue; a part of other statements. Its subqueries do not
-- depend on the dialogue, and each selects a column: a Citus cluster runs no others for a distributed table.
-- {moment}
(
    EXISTS (
        SELECT 1 FROM legal_holds AS hold
        WHERE hold.user_id IS NULL AND (hold.held_until IS NULL OR hold.held_until > {moment})
    )
    OR dialogue.user_id IN (
        SELECT hold.user_id FROM legal_holds AS hold
        WHERE hold.user_id IS NOT NULL AND (hold.held_until IS NULL OR hold.held_until > {moment})
    )
)


-- name: expiry_archives
-- Files of archived months that retention does not change. Their dialogues are expired.
-- $1 moment, UTC
SELECT file FROM partition_archives
WHERE phase <> 'expired' AND file IS NOT NULL AND month + interval '1 month' <= $1::timestamp
ORDER BY month


-- name: expiry_count
-- Expired dialogues of a table, and those of them that a legal hold keeps.
-- {table}  on_hold: dialogue_on_hold  $1 moment, UTC  $2 dialogues before this moment are expired, UTC
SELECT count(*) FILTER (WHERE NOT is_held) AS expired, count(*) FILTER (WHERE is_held) AS on_hold
FROM (SELECT {on_hold} AS is_held FROM {table} AS dialogue WHERE created_at < $2::timestamp) AS expiring


-- name: expiry_delete
-- Delete expired dialogues, oldest first. The index on created_at finds them, and a partitioned table deletes by id and
-- time, so that it searches only the partitions concerned.
-- on_hold: dialogue_on_hold  $1 dialogues before this moment are expired, UTC  $2 start at this moment  $3 at most
WITH chosen AS MATERIALIZED (
    SELECT id, created_at
    FROM ai_dialogue_log AS dialogue
    WHERE created_at < $1::timestamp AND created_at >= $2::timestamp AND NOT {on_hold}
    ORDER BY created_at
    LIMIT $3
),
deleted AS (
    DELETE FROM ai_dialogue_log AS dialogue
    USING chosen
    WHERE dialogue.id = chosen.id AND dialogue.created_at = chosen.created_at
    RETURNING dialogue.id
)
SELECT (SELECT count(*) FROM chosen) AS chosen, greatest((SELECT max(created_at) FROM chosen), '0001-01-01') AS last,
       array(SELECT id FROM deleted) AS ids


-- name: expiry_delete_letters
-- Delete expired dead letters. A replay may have settled some of them meanwhile.
-- $1 ids  $2 dead letters before this moment are expired, UTC
DELETE FROM dead_letters
WHERE id = ANY ($1::bigint[]) AND dead_lettered_at < $2::timestamp AT TIME ZONE 'UTC'
RETURNING id, replayed_at IS NULL AND discarded_at IS NULL AS is_open


-- name: expiry_forget
-- Delete what belongs to removed dialogues in other tables: verdicts, costs, traces and their staged spans.
-- $1 dialogues
WITH feedback AS (
    DELETE FROM kept_feedback WHERE dialogue_id = ANY ($1::uuid[])
),
costs AS (
    DELETE FROM dialogue_costs WHERE dialogue_id = ANY ($1)
),
traces AS (
    DELETE FROM dialogue_traces WHERE dialogue_id = ANY ($1)
),
spans AS (
    DELETE FROM staged_spans WHERE trace_id = ANY ($1)
)
DELETE FROM touched_traces WHERE trace_id = ANY ($1)


-- name: expiry_holds
-- The users of legal holds that are in force at a moment. NULL: a hold covers all users.
-- $1 moment, UTC
SELECT DISTINCT user_id FROM legal_holds
WHERE held_until IS NULL OR held_until > $1::timestamp AT TIME ZONE 'UTC'
ORDER BY user_id


-- name: expiry_ids_back
-- Ids of a month that has left the table that have come back meanwhile: they are not to be forgotten.
-- $1 ids
SELECT id FROM ai_dialogue_log WHERE id = ANY ($1::uuid[])


-- name: expiry_left
-- Months that have expired and that an interrupted archive or restore has left as tables of their own.
-- $1 dialogues before this moment are expired, UTC
SELECT relname::text AS name
FROM pg_class
WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('ai_dialogue_log'))
  AND relkind = 'r' AND NOT relispartition
  AND CASE WHEN relname ~ '^ai_dialogue_log_[0-9]{4}_(0[1-9]|1[0-2])$'
      THEN to_date(right(relname, 7), 'YYYY_MM') + interval '1 month' <= $1::timestamp END
ORDER BY relname


-- name: expiry_letters
-- The next expired dead letters: as many as stay below a total size, but at least one.
-- $1 ids greater than this  $2 dead letters before this moment are expired, UTC  $3 at most  $4 bytes
-- $5 whether to return the records too
SELECT id, topic, partition, record_offset, is_open,
       CASE WHEN $5::boolean THEN key END AS key, CASE WHEN $5 THEN value END AS value,
       CASE WHEN $5 THEN headers::text END AS headers
FROM (
    SELECT *, sum(octet_length(value)) OVER (ORDER BY id) - coalesce(octet_length(value), 0) AS bytes_before
    FROM (
        SELECT *, replayed_at IS NULL AND discarded_at IS NULL AS is_open
        FROM dead_letters
        WHERE id > $1 AND dead_lettered_at < $2::timestamp AT TIME ZONE 'UTC'
        ORDER BY id
        LIMIT $3
    ) AS next
) AS sized
WHERE NOT $5 OR coalesce(bytes_before, 0) < $4::bigint
ORDER BY id


-- name: expiry_month_dropped
-- Record that the table of an expired month is dropped.
-- $1 month
UPDATE partition_archives SET dropped_at = now() WHERE month = $1 AND phase = 'expired'


-- name: expiry_month_held
-- Whether a legal hold covers a dialogue of a month. The index on the user finds it.
-- {partition}
SELECT EXISTS (
    SELECT 1 FROM {partition}
    WHERE user_id = ANY (
        ARRAY(SELECT user_id FROM legal_holds WHERE held_until IS NULL OR held_until > now())
    )
) OR EXISTS (
    SELECT 1 FROM {partition}
    WHERE EXISTS (SELECT 1 FROM legal_holds WHERE user_id IS NULL AND (held_until IS NULL OR held_until > now()))
) AS is_held


-- name: expiry_month_ids
-- The next ids of a month that has left the table.
-- {partition}  $1 ids greater than this; NULL: from the first  $2 at most
SELECT id FROM {partition} WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2


-- name: expiry_month_leaves
-- Record that retention takes a month out of the table.
-- $1 month  $2 partition
INSERT INTO partition_archives (month, partition, phase) VALUES ($1, $2, 'expired')
ON CONFLICT (month) DO UPDATE
SET partition = excluded.partition, phase = 'expired', detached_at = now(), dropped_at = NULL


-- name: expiry_months
-- Whole months that have expired, oldest first: partitions of the table, and months that a killed run has taken out of
-- it.
-- $1 dialogues before this moment are expired, UTC
SELECT begins_at::date AS month, partition::text AS partition, true AS is_attached
FROM dialogue_partitions('ai_dialogue_log')
WHERE NOT is_default AND ends_at <= $1
  AND begins_at = date_trunc('month', begins_at) AND ends_at = begins_at + interval '1 month'
UNION ALL
SELECT month, partition, false
FROM partition_archives
WHERE phase = 'expired' AND dropped_at IS NULL AND to_regclass(partition) IS NOT NULL
ORDER BY month


-- name: expiry_moments
-- Quarters of an hour with dialogues between two moments, found one after the other in the index on created_at. They
-- determine the days in any time zone.
-- $1 from  $2 up to, but not including, both UTC
WITH RECURSIVE found AS (
    SELECT (
        SELECT min(created_at) FROM ai_dialogue_log
        WHERE created_at >= greatest($1::timestamp, '0001-01-01') AND created_at < $2::timestamp
    ) AS moment
    UNION ALL
    SELECT (
        SELECT min(created_at) FROM ai_dialogue_log
        WHERE created_at >= date_bin('15 minutes', found.moment, '2000-01-01') + interval '15 minutes'
          AND created_at < $2
    )
    FROM found
    WHERE moment IS NOT NULL
)
SELECT moment FROM found WHERE moment IS NOT NULL


-- name: expiry_moments_spread
-- The same for a distributed table, on which no recursive query runs: all of its rows are read.
-- $1 from  $2 up to, but not including, both UTC
SELECT DISTINCT date_bin('15 minutes', created_at, '2000-01-01') AS moment
FROM ai_dialogue_log
WHERE created_at >= greatest($1::timestamp, '0001-01-01') AND created_at < $2::timestamp


-- name: expiry_move
-- Move the boundary: from this commit on, the days before it are final. Their buckets, which name users, are deleted.
-- $1 dialogues before this moment are expired, UTC
WITH dropped AS (
    DELETE FROM rollup_buckets WHERE begins_at < $1
)
UPDATE dialogue_retention SET expired_before = $1, moved_at = now() WHERE expired_before < $1


-- name: expiry_put_back
-- Put dialogues of a month that is being removed back into the table: a legal hold has come to cover them.
-- {partition}  {columns}: the columns of the table  on_hold: dialogue_on_hold
WITH held AS (
    DELETE FROM {partition} AS dialogue WHERE {on_hold} RETURNING *
),
missing AS (
    SELECT * FROM held WHERE id NOT IN (SELECT id FROM ai_dialogue_log WHERE id IN (SELECT id FROM held))
),
known AS (
    INSERT INTO known_ids (id) SELECT id FROM missing ON CONFLICT (id) DO NOTHING
)
INSERT INTO ai_dialogue_log ({columns}) SELECT {columns} FROM missing


-- name: expiry_state
-- What a run of retention depends on: the time, the boundary, the form of the table, the business time zone in force,
-- and whether a conversion is open.
SELECT
    now() AT TIME ZONE 'UTC' AS now,
    retention.expired_before,
    relkind = 'p' AS is_partitioned,
    pg_has_role(relowner, 'USAGE') AS is_owner,
    (
        SELECT time_zone FROM rollup_basis WHERE adopted_at IS NOT NULL ORDER BY adopted_at DESC LIMIT 1
    ) AS time_zone,
    to_regclass('ai_dialogue_log_new') IS NOT NULL
        OR to_regclass('ai_dialogue_log_before') IS NOT NULL AS is_converting
FROM pg_class
CROSS JOIN dialogue_retention AS retention
WHERE pg_class.oid = to_regclass('ai_dialogue_log')


-- name: expiry_sweep
-- Read the next rows of a table about dialogues, and delete those that are old and whose dialogue is not in the table.
-- {table}  {moment}: its column for the time  $1 rows before this moment are old, UTC
-- $2 dialogues greater than this; NULL: from the first  $3 at most
WITH page AS MATERIALIZED (
    SELECT dialogue_id, {moment} < $1::timestamp AS is_old
    FROM {table}
    WHERE $2::uuid IS NULL OR dialogue_id > $2
    ORDER BY dialogue_id
    LIMIT $3
),
swept AS (
    DELETE FROM {table} AS old
    USING page
    WHERE old.dialogue_id = page.dialogue_id AND is_old
      AND page.dialogue_id NOT IN (SELECT id FROM ai_dialogue_log WHERE id IN (SELECT dialogue_id FROM page))
)
SELECT dialogue_id AS last FROM page ORDER BY dialogue_id DESC LIMIT 1


-- name: expiry_sweep_due
-- Whether archived months have expired since the last sweep. It waits while a legal hold is in force.
-- $1 dialogues before this moment are expired, UTC
SELECT EXISTS (
    SELECT FROM partition_archives CROSS JOIN dialogue_retention
    WHERE phase = 'dropped' AND month + interval '1 month' > swept_before
      AND month + interval '1 month' <= $1::timestamp
) AND NOT EXISTS (SELECT FROM legal_holds WHERE held_until IS NULL OR held_until > now()) AS is_due


-- name: expiry_swept
-- Record that a sweep is done.
-- $1 moment, UTC
UPDATE dialogue_retention SET swept_before = $1


-- name: expiry_uncomputed
-- Which of the days with dialogues have no row, and which days are marked.
-- $1 days with dialogues  $2 the first day  $3 the last day
SELECT wanted.day
FROM unnest($1::date[]) AS wanted (day)
WHERE NOT EXISTS (SELECT FROM rag_metrics_history WHERE date(date) = wanted.day)
UNION
SELECT day FROM touched_days WHERE day BETWEEN $2::date AND $3::date
ORDER BY day
