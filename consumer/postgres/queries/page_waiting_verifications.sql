-- The next waiting checks, in order of their provenance: the last provenance, and the provenance that is there.
-- $1 from this provenance on  $2 at most
WITH waiting AS MATERIALIZED (
    SELECT DISTINCT provenance_id AS id
    FROM kept_verifications
    WHERE applied_at IS NULL AND provenance_id >= $1
    ORDER BY provenance_id
    LIMIT $2
)
SELECT
    (SELECT id FROM waiting ORDER BY id DESC LIMIT 1) AS last,
    ARRAY(SELECT id FROM waiting WHERE EXISTS (SELECT FROM provenance AS row WHERE row.id = waiting.id)) AS present
