-- Remember an erased user. After this commit, no dialogue of the user is stored: the insert raises the version that
-- every flush locks until it commits. So it waits for flushes that are committing.
-- $1 hash  $2 key id
INSERT INTO erased_users (user_hash, key_id) VALUES ($1, $2) ON CONFLICT (user_hash) DO NOTHING
