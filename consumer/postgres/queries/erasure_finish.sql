-- Mark an erasure as finished: all rows are deleted and all touched days are computed again.
-- $1 erasure
UPDATE erasures SET finished_at = coalesce(finished_at, now()) WHERE id = $1
