-- Attach a table with the rows of a month as a partition, together with rows of the month that arrived meanwhile.
-- $1 month  $2 the table
SELECT moved FROM make_dialogue_partition($1, 9223372036854775806, $2::text::regclass)
