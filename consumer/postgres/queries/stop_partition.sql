-- Record that a partition has stopped, and why: only after everything before the stop is committed, and only if no
-- other replica has claimed the partition since. An already recorded reason stays, and is returned. A row that another
-- transaction holds is left for the next attempt, so that it does not delay the stops of the other partitions.
-- $1 group  $2 topic  $3 partition  $4 epoch  $5 offset of the stop
-- $6 why  $7 where to go on  $8 first offset that cannot be read  $9 the offset behind the last  $10 diverges at
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
