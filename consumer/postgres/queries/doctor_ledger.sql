-- The ledger of one consumer group: whether its equation holds in each row, why a row has stopped if it has, and for
-- how long nobody has moved it.
-- $1 group
SELECT
    topic, partition, next_offset, epoch, owner, topic_id,
    CASE WHEN leader_epoch_at = next_offset THEN leader_epoch END AS leader_epoch,
    stopped_because, resume_from, unreadable_from, unreadable_until, diverges_at,
    next_offset - start_offset = inserted + duplicates + amended + dead_lettered + ignored + gaps AS holds,
    extract(epoch FROM now() - updated_at)::float8 AS idle_seconds
FROM ingest_ledger
WHERE consumer_group = $1
ORDER BY topic, partition
