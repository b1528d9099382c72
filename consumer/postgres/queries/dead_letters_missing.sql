-- Whether any of these records has no dead letter.
-- $1 topics  $2 partitions  $3 offsets
SELECT EXISTS (
    SELECT FROM unnest($1::text[], $2::int[], $3::bigint[]) AS letter (topic, partition, record_offset)
    WHERE NOT EXISTS (
        SELECT FROM dead_letters AS kept
        WHERE kept.topic = letter.topic
          AND kept.partition = letter.partition
          AND kept.record_offset = letter.record_offset
    )
) AS missing
