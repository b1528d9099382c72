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
