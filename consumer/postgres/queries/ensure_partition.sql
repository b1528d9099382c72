-- Create the first missing partition after a month, with the month's rows from the default partition. Returns no month
-- if none is missing.
-- $1 months ahead  $2 after this month  $3 rows to move at most
SELECT month, partition, moved, waiting FROM ensure_dialogue_partition($1, $2, $3)
