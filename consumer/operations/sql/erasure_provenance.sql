-- Keep provenance without the user, as ON DELETE SET NULL would; what is on legal hold stays as it is.
-- $1 user  $2 at most
UPDATE provenance
SET acquired_by = NULL
WHERE id = ANY (ARRAY(
    SELECT id FROM provenance WHERE acquired_by = $1 AND NOT is_on_legal_hold(access_policy) LIMIT $2
  ))
  AND acquired_by = $1
  AND NOT is_on_legal_hold(access_policy)
RETURNING id
