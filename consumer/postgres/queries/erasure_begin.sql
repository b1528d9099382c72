-- Begin an erasure, or continue one that was interrupted or is running. The new requester and reference are added to
-- the stored ones.
-- $1 hash  $2 key id  $3 who  $4 reference or null
INSERT INTO erasures AS begun (user_hash, key_id, requested_by, reference)
VALUES ($1, $2, $3::text || ', database role ' || session_user, $4)
ON CONFLICT (user_hash) WHERE finished_at IS NULL DO UPDATE SET
    requested_by = CASE
        WHEN strpos('; ' || begun.requested_by || '; ', '; ' || excluded.requested_by || '; ') > 0 THEN begun.requested_by
        ELSE begun.requested_by || '; ' || excluded.requested_by
    END,
    reference = CASE
        WHEN strpos('; ' || begun.reference || '; ', '; ' || excluded.reference || '; ') > 0 THEN begun.reference
        ELSE coalesce(begun.reference || '; ' || excluded.reference, begun.reference, excluded.reference)
    END
RETURNING id
