-- Record that the table of an archived month is dropped.
-- $1 month
UPDATE partition_archives SET phase = 'dropped', dropped_at = now() WHERE month = $1
