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
