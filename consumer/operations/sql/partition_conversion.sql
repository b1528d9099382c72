-- The conversion that is under way, if one is, locked so that no two can take the same step.
SELECT phase, next_block, end_block, rows_copied FROM partition_conversions WHERE finished_at IS NULL FOR UPDATE
