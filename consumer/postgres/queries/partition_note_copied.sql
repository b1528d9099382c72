-- Record the progress of copying.
-- $1 the next block  $2 rows copied
UPDATE partition_conversions
SET next_block = $1, rows_copied = rows_copied + $2, updated_at = now()
WHERE finished_at IS NULL
