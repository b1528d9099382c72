-- Lock the provenance that checks wait for, in a statement of its own: what applies them then sees the checks that
-- another transaction has committed meanwhile, and an older one cannot undo a newer one.
-- $1 provenance; NULL for all that is there and has a check waiting
SELECT id
FROM provenance
WHERE id IN (
    SELECT provenance_id
    FROM kept_verifications
    WHERE applied_at IS NULL AND ($1::uuid[] IS NULL OR provenance_id = ANY($1))
)
ORDER BY id
FOR UPDATE
