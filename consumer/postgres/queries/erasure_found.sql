-- Rows of a user outside dialogues, feedback and dead letters: rows that are kept without the user, and rows that are
-- kept unchanged.
-- $1 user
SELECT
    (SELECT count(*) FROM provenance WHERE acquired_by = $1 AND NOT is_on_legal_hold(access_policy)) AS provenance,
    (SELECT count(*) FROM retention_archive WHERE provenance ->> 'acquired_by' = $1::uuid::text) AS archived_provenance,
    (SELECT count(*) FROM retention_notices WHERE owner = $1) AS notices,
    (
        SELECT count(*) FROM retention_notices WHERE owner = $1 AND (published_at IS NOT NULL OR sent_from IS NOT NULL)
    ) AS sent_notices,
    (SELECT count(*) FROM provenance WHERE acquired_by = $1 AND is_on_legal_hold(access_policy)) AS on_hold,
    (
        SELECT count(*) FROM provenance
        WHERE access_policy::text ILIKE '%' || $1::uuid::text || '%'
           OR access_policy::text ILIKE '%' || replace($1::uuid::text, '-', '') || '%'
    ) AS named_in_policy
