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
