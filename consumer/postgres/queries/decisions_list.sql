-- The decisions of one consumer group, newest first.
-- $1 group
SELECT
    id, topic, partition, decided_at, decided_by, reason, problem, from_offset, to_offset, begins_anew, start_offset,
    inserted, duplicates, amended, dead_lettered, ignored, gaps, topic_id_before, topic_id_after, given_up
FROM ledger_decisions
WHERE consumer_group = $1
ORDER BY id DESC
