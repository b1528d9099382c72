-- Record that a month is detached from the table.
-- $1 month  $2 partition
INSERT INTO partition_archives (month, partition, phase) VALUES ($1, $2, 'detached')
