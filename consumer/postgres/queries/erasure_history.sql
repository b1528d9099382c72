-- All erasures of a user: the named one first, then the newest.
-- $1 hash  $2 the one
SELECT * FROM erasures WHERE user_hash = $1 ORDER BY id = $2 DESC, id DESC
