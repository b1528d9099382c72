-- The books of one partition, locked so that nobody moves them until the decision is written.
-- $1 group  $2 topic  $3 partition
SELECT
    start_offset, next_offset, inserted, duplicates, amended, dead_lettered, ignored, gaps, topic_id,
    CASE WHEN leader_epoch_at = next_offset THEN leader_epoch END AS leader_epoch,
    stopped_because, resume_from, unreadable_from, unreadable_until, diverges_at
FROM ingest_ledger
WHERE consumer_group = $1 AND topic = $2 AND partition = $3
FOR UPDATE
