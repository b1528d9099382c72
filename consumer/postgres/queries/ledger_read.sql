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
