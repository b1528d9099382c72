-- Everything is deleted and computed anew.
-- $1 erasure
UPDATE erasures SET finished_at = coalesce(finished_at, now()) WHERE id = $1
