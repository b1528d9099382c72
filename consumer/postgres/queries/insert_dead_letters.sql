-- Keep records that cannot be stored, with the reason. If a timestamp is beyond the years that clients can read, it has
-- another unit: it is read as microseconds, or else as nanoseconds, and its original value is kept in a column of its
-- own. A record that names an erased user is already discarded, because nobody has to decide about it.
-- $1 topics  $2 partitions  $3 offsets  $4 timestamps (ms)  $5 keys  $6 values  $7 headers  $8 reasons
-- $9 details  $10 SQLSTATEs
INSERT INTO dead_letters
    (
        topic, partition, record_offset, record_timestamp, record_timestamp_ms, key, value, headers, reason, detail,
        sqlstate, discarded_at
    )
SELECT
    topic, partition, record_offset,
    'epoch'::timestamptz + CASE
        WHEN milliseconds BETWEEN -62135596800000 AND 253402300799999 THEN milliseconds * interval '1 millisecond'
        WHEN milliseconds BETWEEN -62135596800000000 AND 253402300799999999 THEN milliseconds * interval '1 microsecond'
        ELSE milliseconds / 1000 * interval '1 microsecond'
    END,
    CASE WHEN milliseconds NOT BETWEEN -62135596800000 AND 253402300799999 THEN milliseconds END,
    key, value, headers, reason, detail, sqlstate,
    CASE WHEN reason = 'erased_user' THEN now() END
FROM unnest(
    $1::text[], $2::int[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::jsonb[], $8::text[],
    $9::jsonb[], $10::text[]
) AS letter (
    topic, partition, record_offset, milliseconds, key, value, headers, reason, detail, sqlstate
)
ORDER BY topic, partition, record_offset
ON CONFLICT (topic, partition, record_offset, record_timestamp) DO NOTHING
