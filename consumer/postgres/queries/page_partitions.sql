-- The ledger of a group: its position in each partition, and the number of records it has counted.
-- $1 group  $2 how many partitions at most
SELECT
    topic, partition, next_offset, inserted + duplicates + amended + dead_lettered + ignored AS records, owner, updated_at
FROM ingest_ledger
WHERE consumer_group = $1
ORDER BY topic, partition
LIMIT $2
