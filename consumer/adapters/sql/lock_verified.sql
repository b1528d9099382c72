-- Lock the provenance that checks wait for, in a statement of its own: what applies them then sees the checks that
-- another transaction has committed meanwhile, and an older one cannot undo a newer one. What is not returned here must
-- not be changed: provenance that comes in meanwhile would be locked too late.
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
