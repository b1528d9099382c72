-- The next dead letters that are not empty: as many as stay below a total size, but at least one.
-- $1 ids greater than this  $2 at most  $3 bytes
SELECT id, topic, partition, record_offset, key, value, headers::text AS headers
FROM (
    SELECT *, sum(coalesce(octet_length(value), 0)) OVER (ORDER BY id) - coalesce(octet_length(value), 0) AS bytes_before
    FROM (SELECT * FROM dead_letters WHERE id > $1 AND reason <> 'erased_user' ORDER BY id LIMIT $2) AS next
) AS sized
WHERE bytes_before < $3::bigint
ORDER BY id
