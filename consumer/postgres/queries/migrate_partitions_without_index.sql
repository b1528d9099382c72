-- The partitions of a table without an index that is attached to the given index of the table.
-- $1 the table  $2 its index
SELECT inhrelid::regclass::text AS partition, regexp_replace(child.relname, '^' || $1 || '_', '') AS suffix
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid AND child.relkind = 'r'
WHERE inhparent = $1::text::regclass
  AND NOT EXISTS (
    SELECT FROM pg_index JOIN pg_inherits AS attached ON attached.inhrelid = indexrelid
    WHERE indrelid = child.oid AND attached.inhparent = $2::text::regclass
  )
ORDER BY child.relname
