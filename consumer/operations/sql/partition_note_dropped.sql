-- The table of an archived month is gone.
-- $1 month
UPDATE partition_archives SET phase = 'dropped', dropped_at = now() WHERE month = $1
