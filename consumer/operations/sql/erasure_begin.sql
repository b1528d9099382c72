-- Begin an erasure, or go on with one that was cut off.
-- $1 hash  $2 key id  $3 who  $4 reference or null
INSERT INTO erasures (user_hash, key_id, requested_by, reference)
VALUES ($1, $2, $3::text || ', database role ' || session_user, $4)
ON CONFLICT (user_hash) WHERE finished_at IS NULL DO UPDATE SET
    requested_by = excluded.requested_by,
    reference = coalesce(excluded.reference, erasures.reference)
RETURNING id
