-- Remove the user from archived provenance, which is kept.
-- $1 user  $2 at most
UPDATE retention_archive
SET provenance = provenance || '{"acquired_by": null}'
WHERE id = ANY (ARRAY(SELECT id FROM retention_archive WHERE provenance ->> 'acquired_by' = $1::uuid::text LIMIT $2))
RETURNING id
