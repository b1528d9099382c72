-- The records of dead letters that this transaction has locked.
-- $1 ids
SELECT
    id, topic, partition, record_offset, key, value, headers, reason, detail,
    CASE
        WHEN record_timestamp_ms IS NOT NULL THEN record_timestamp_ms
        WHEN isfinite(record_timestamp) THEN round(extract(epoch FROM record_timestamp) * 1000)::bigint
        ELSE 9223372036854775807  -- kept before record_timestamp_ms was there
    END AS record_timestamp
FROM dead_letters
WHERE id = ANY ($1::bigint[])
ORDER BY id
