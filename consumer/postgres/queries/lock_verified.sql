-- Lock the provenance that checks wait for, in a statement of its own. The statement that applies the checks then sees
-- all checks that other transactions have committed meanwhile, so an older check cannot undo a newer one. Only the
-- returned rows may be changed: provenance that arrives later would be locked too late.
-- $1 provenance
SELECT id
FROM provenance
WHERE id IN (
    SELECT provenance_id
    FROM kept_verifications
    WHERE applied_at IS NULL AND provenance_id = ANY($1::uuid[])
)
ORDER BY id
FOR UPDATE
