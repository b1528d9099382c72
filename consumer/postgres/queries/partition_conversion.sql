-- The running conversion, if there is one, locked so that no two processes can take the same step.
SELECT phase, next_block, end_block, rows_copied FROM partition_conversions WHERE finished_at IS NULL FOR UPDATE
