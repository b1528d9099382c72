-- From the commit of this on, no dialogue of the user is stored: it raises the version that every flush holds when it
-- commits, and so waits for those that are just committing.
-- $1 hash  $2 key id
INSERT INTO erased_users (user_hash, key_id) VALUES ($1, $2) ON CONFLICT (user_hash) DO NOTHING
