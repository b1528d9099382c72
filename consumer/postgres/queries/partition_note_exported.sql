-- Record that a month is in a file that was read back.
-- $1 month
UPDATE partition_archives SET phase = 'exported' WHERE month = $1
