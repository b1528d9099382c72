-- Make the first partition that is missing after a month, with the rows that the default partition has of it; no month
-- where none is missing.
-- $1 months ahead  $2 after this month  $3 rows to move at most
SELECT month, partition, moved, waiting FROM ensure_dialogue_partition($1, $2, $3)
