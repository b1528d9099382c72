-- Remove the user from provenance, as ON DELETE SET NULL would. Provenance on legal hold is not changed.
-- $1 user  $2 at most
UPDATE provenance
SET acquired_by = NULL
WHERE id = ANY (ARRAY(
    SELECT id FROM provenance WHERE acquired_by = $1 AND NOT is_on_legal_hold(access_policy) LIMIT $2
  ))
  AND acquired_by = $1
  AND NOT is_on_legal_hold(access_policy)
RETURNING id
