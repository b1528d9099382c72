-- Every erasure of a user, the newest first.
-- $1 hash
SELECT * FROM erasures WHERE user_hash = $1 ORDER BY id DESC
