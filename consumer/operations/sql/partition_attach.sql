-- Make a table with the rows of a month a partition, with the rows that came for the month meanwhile.
-- $1 month  $2 the table
SELECT moved FROM make_dialogue_partition($1, 9223372036854775806, $2::text::regclass)
