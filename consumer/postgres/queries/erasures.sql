-- Statements about erased_users, erasure_version and erasures.


-- name: erased_users
-- The erased users, the version of this set, the key that the database keeps, and under which namespace of string ids
-- users were erased, all from one snapshot.
SELECT
    (SELECT version FROM erasure_version) AS version,
    (SELECT key FROM erasure_version) AS key,
    (SELECT namespace_hash FROM erasure_version) AS namespace_hash,
    array(SELECT user_hash FROM erased_users) AS hashes,
    array(SELECT DISTINCT key_id FROM erased_users) AS key_ids


-- name: erasure_add
-- Add to the counts of an erasure, in the transaction that erases.
-- $1 erasure  $2 dialogues  $3 feedback  $4 dead letters  $5 provenance  $6 archived provenance  $7 notices  $8 days
-- $9 notices that were sent  $10 staged spans  $11 rows of dialogue_traces
UPDATE erasures
SET dialogues = dialogues + $2,
    feedback = feedback + $3,
    dead_letters = dead_letters + $4,
    provenance = provenance + $5,
    archived_provenance = archived_provenance + $6,
    notices = notices + $7,
    staged_spans = staged_spans + $10,
    traces = traces + $11,
    days = ARRAY(SELECT DISTINCT day FROM unnest(days || $8::date[]) AS day ORDER BY day),
    sent_notices = ARRAY(SELECT DISTINCT id FROM unnest(sent_notices || $9::uuid[]) AS id ORDER BY id)
WHERE id = $1


-- name: erasure_archive
-- Remove the user from archived provenance, which is kept.
-- $1 user  $2 at most
UPDATE retention_archive
SET provenance = provenance || '{"acquired_by": null}'
WHERE id = ANY (ARRAY(SELECT id FROM retention_archive WHERE provenance ->> 'acquired_by' = $1::uuid::text LIMIT $2))
RETURNING id


-- name: erasure_await_copying
-- Wait for the portion that a conversion is copying, because it may have read rows that are now deleted. Later portions
-- cannot read them.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger copying', 0))


-- name: erasure_begin
-- Begin an erasure, or continue one that was interrupted or is running. The new requester and reference are added to
-- the stored ones.
-- $1 hash  $2 key id  $3 who  $4 reference or null
INSERT INTO erasures AS begun (user_hash, key_id, requested_by, reference)
VALUES ($1, $2, $3::text || ', database role ' || session_user, $4)
ON CONFLICT (user_hash) WHERE finished_at IS NULL DO UPDATE SET
    requested_by = CASE
        WHEN strpos('; ' || begun.requested_by || '; ', '; ' || excluded.requested_by || '; ') > 0 THEN begun.requested_by
        ELSE begun.requested_by || '; ' || excluded.requested_by
    END,
    reference = CASE
        WHEN strpos('; ' || begun.reference || '; ', '; ' || excluded.reference || '; ') > 0 THEN begun.reference
        ELSE coalesce(begun.reference || '; ' || excluded.reference, begun.reference, excluded.reference)
    END
RETURNING id


-- name: erasure_copies
-- Every table that holds dialogues, ai_dialogue_log first: months that are being archived or restored, and the other
-- table of a conversion, which holds the same dialogues again. None is added or removed while ai_dialogue_log is
-- locked.
SELECT format('%I.%I', nspname, relname) AS name, pg_class.oid = to_regclass('ai_dialogue_log') AS is_first,
       relname IN ('ai_dialogue_log_new', 'ai_dialogue_log_before') AS is_double
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('ai_dialogue_log'))
  AND relkind IN ('r', 'p') AND NOT relispartition
  AND (
    pg_class.oid = to_regclass('ai_dialogue_log')
    OR relname ~ '^ai_dialogue_log_(new|before|[0-9]{4}_[0-9]{2})$'
    OR pg_class.oid IN (SELECT to_regclass(partition) FROM partition_archives WHERE phase <> 'dropped')
  )
  AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'user_id' AND NOT attisdropped)
ORDER BY is_first DESC, name


-- name: erasure_days
-- The days that an erasure has touched.
-- $1 erasure
SELECT unnest(days) AS day FROM erasures WHERE id = $1 ORDER BY day


-- name: erasure_dead_letters
-- The next dead letters that are not empty: as many as stay below a total size, but at least one.
-- $1 ids greater than this  $2 at most  $3 bytes
SELECT id, topic, partition, record_offset, key, value, headers::text AS headers
FROM (
    SELECT *, sum(coalesce(octet_length(value), 0)) OVER (ORDER BY id) - coalesce(octet_length(value), 0) AS bytes_before
    FROM (SELECT * FROM dead_letters WHERE id > $1 AND reason <> 'erased_user' ORDER BY id LIMIT $2) AS next
) AS sized
WHERE bytes_before < $3::bigint
ORDER BY id


-- name: erasure_dialogues
-- Delete dialogues of a user, by id and time, so that a partitioned table searches only the partitions concerned.
-- A time that the client cannot hold (an application may have written it) is returned as null; it is in no day.
-- {table}  $1 user  $2 at most
WITH chosen AS (SELECT id, created_at FROM {table} WHERE user_id = $1 LIMIT $2)
DELETE FROM {table} AS dialogue
USING chosen
WHERE dialogue.id = chosen.id AND dialogue.created_at = chosen.created_at
RETURNING dialogue.id,
    CASE WHEN dialogue.created_at BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999' THEN dialogue.created_at END
        AS created_at


-- name: erasure_feedback
-- Delete the kept verdicts on these dialogues.
-- $1 dialogues
DELETE FROM kept_feedback WHERE dialogue_id = ANY ($1::uuid[]) RETURNING dialogue_id


-- name: erasure_files
-- The files of archived months and their directories, if known. If the file of a month is unfinished, only its
-- directory is recorded.
SELECT file, directory FROM partition_archives WHERE file IS NOT NULL OR directory IS NOT NULL ORDER BY month


-- name: erasure_finish
-- Mark an erasure as finished: all rows are deleted and all touched days are computed again.
-- $1 erasure
UPDATE erasures SET finished_at = coalesce(finished_at, now()) WHERE id = $1


-- name: erasure_found
-- Rows of a user outside dialogues, feedback and dead letters: rows that are kept without the user, and rows that are
-- kept unchanged.
-- $1 user
SELECT
    (SELECT count(*) FROM provenance WHERE acquired_by = $1 AND NOT is_on_legal_hold(access_policy)) AS provenance,
    (SELECT count(*) FROM retention_archive WHERE provenance ->> 'acquired_by' = $1::uuid::text) AS archived_provenance,
    (SELECT count(*) FROM retention_notices WHERE owner = $1) AS notices,
    (
        SELECT count(*) FROM retention_notices WHERE owner = $1 AND (published_at IS NOT NULL OR sent_from IS NOT NULL)
    ) AS sent_notices,
    (SELECT count(*) FROM provenance WHERE acquired_by = $1 AND is_on_legal_hold(access_policy)) AS on_hold,
    (
        SELECT count(*) FROM provenance
        WHERE access_policy::text ILIKE '%' || $1::uuid::text || '%'
           OR access_policy::text ILIKE '%' || replace($1::uuid::text, '-', '') || '%'
    ) AS named_in_policy


-- name: erasure_found_days
-- The quarters of an hour in which a user's dialogues took place. They determine the days in any time zone.
-- dialogues: erasure_of_user for each table  $1 user
SELECT DISTINCT date_bin('15 minutes', created_at, '2000-01-01') AS moment
FROM ({dialogues}) AS dialogue
WHERE created_at BETWEEN '0001-01-02' AND '9999-12-31 23:59:59.999999'


-- name: erasure_found_dialogues
-- Number of dialogues of a user, each counted once.
-- dialogues: erasure_of_user for each table  $1 user
SELECT count(DISTINCT id) AS dialogues FROM ({dialogues}) AS dialogue


-- name: erasure_found_feedback
-- Number of kept verdicts on a user's dialogues.
-- dialogues: erasure_of_user for each table  $1 user
SELECT count(*) AS feedback
FROM kept_feedback
WHERE dialogue_id IN (SELECT id FROM ({dialogues}) AS dialogue)


-- name: erasure_history
-- All erasures of a user: the named one first, then the newest.
-- $1 hash  $2 the one
SELECT * FROM erasures WHERE user_hash = $1 ORDER BY id = $2 DESC, id DESC


-- name: erasure_hold_tables
-- Until this transaction ends, no table with dialogues can be attached to ai_dialogue_log, detached from it or dropped.
-- Readers and writers are not blocked.
LOCK TABLE ai_dialogue_log IN ACCESS SHARE MODE;
SELECT pg_advisory_xact_lock_shared(hashtextextended('ragledger copies', 0))


-- name: erasure_ids
-- Remove the known ids of deleted dialogues. On some tables, no trigger does this.
-- $1 dialogues
DELETE FROM known_ids WHERE id = ANY ($1::uuid[])


-- name: erasure_keys_in_use
-- The keys under which users were erased, the number of users for each, and the key that the database keeps.
SELECT key_id, count(*) AS users, (SELECT key FROM erasure_version) AS kept_key
FROM erased_users
GROUP BY key_id
ORDER BY key_id


-- name: erasure_namespace
-- Remember under which namespace of string ids users are erased.
-- $1 hash of the namespace, null if none is set
UPDATE erasure_version SET namespace_hash = $1 WHERE namespace_hash IS NULL AND $1::bytea IS NOT NULL


-- name: erasure_notices
-- Remove the user from notices, which are kept. Waiting notices are published without an owner. Returns which notices
-- were sent, or are being sent, with the user's id.
-- $1 user  $2 at most
UPDATE retention_notices
SET owner = NULL, notice = notice || '{"owner": null}'
WHERE id = ANY (ARRAY(SELECT id FROM retention_notices WHERE owner = $1 LIMIT $2))
RETURNING id, published_at IS NOT NULL OR sent_from IS NOT NULL AS sent


-- name: erasure_of_user
-- A user's dialogues in one table.
-- {table}  $1 user
SELECT id, created_at FROM {table} WHERE user_id = $1


-- name: erasure_one_at_a_time
-- Serialize the steps of concurrent erasures of one user, because they change the same rows.
-- $1 user
SELECT pg_advisory_xact_lock(hashtextextended('ragledger erasure ' || $1::uuid::text, 0))


-- name: erasure_provenance
-- Remove the user from provenance, as ON DELETE SET NULL would. Provenance on legal hold is not changed.
-- $1 user  $2 at most
UPDATE provenance
SET acquired_by = NULL
WHERE id = ANY (ARRAY(
    SELECT id FROM provenance WHERE acquired_by = $1 AND NOT is_on_legal_hold(access_policy) LIMIT $2
  ))
  AND acquired_by = $1
  AND NOT is_on_legal_hold(access_policy)
RETURNING id


-- name: erasure_remember
-- Remember an erased user. After this commit, no dialogue of the user is stored: the insert raises the version that
-- every write locks until it commits. So it waits for writes that are committing.
-- $1 hash  $2 key id
INSERT INTO erased_users (user_hash, key_id) VALUES ($1, $2) ON CONFLICT (user_hash) DO NOTHING


-- name: hold_erasures
-- The version of the set of erased users. It cannot change until this transaction ends, because an erasure updates the
-- row. If an erasure is updating it, this waits for the end of that transaction and returns the new version.
SELECT version FROM erasure_version FOR SHARE
