-- Write waiting checks into their provenance, if it is there. For each field, the newest check that states it counts,
-- whatever the order of arrival. The row's own values count as a check at its last_verified_at, or as older than all
-- checks; they are kept before the first check overwrites them. A field whose newest value comes from no waiting check
-- is not changed, because somebody may have corrected it by hand. Returns for each row whether it was changed: a
-- trigger of the owner may have left it out.
-- $1 provenance that this transaction has locked in an earlier statement: this one then sees every check that was
-- committed before the lock was had
WITH held AS MATERIALIZED (
    SELECT id, last_verified_at, permission_flag, external_share_consent, license_type
    FROM provenance
    WHERE id IN (
        SELECT provenance_id
        FROM kept_verifications
        WHERE applied_at IS NULL AND provenance_id = ANY($1::uuid[])
    )
),
stated AS (
    INSERT INTO kept_verifications (
        provenance_id, verified_at, is_statement, permission_flag, external_share_consent, license_type, applied_at
    )
    SELECT
        id, coalesce(last_verified_at, '-infinity'), true, permission_flag, external_share_consent,
        license_type::text, now()
    FROM held
    WHERE NOT EXISTS (
        SELECT FROM kept_verifications WHERE provenance_id = held.id AND is_statement
    )
    RETURNING provenance_id, verified_at, is_statement, permission_flag, external_share_consent, license_type
),
known AS (
    SELECT
        provenance_id, verified_at, is_statement, permission_flag, external_share_consent, license_type,
        applied_at IS NULL AS waits
    FROM kept_verifications
    WHERE provenance_id IN (SELECT id FROM held) AND sqlstate IS NULL
    UNION ALL
    SELECT
        provenance_id, verified_at, is_statement, permission_flag, external_share_consent, license_type, false
    FROM stated
),
-- For each field the newest value, if it comes from a waiting check. At the same time, a check counts before the row's
-- own values.
newest AS (
    SELECT
        provenance_id,
        max(verified_at) FILTER (WHERE NOT is_statement) AS verified_at,
        (array_agg(CASE WHEN waits THEN permission_flag END ORDER BY verified_at DESC, is_statement)
            FILTER (WHERE permission_flag IS NOT NULL))[1] AS permission_flag,
        (array_agg(CASE WHEN waits THEN external_share_consent END ORDER BY verified_at DESC, is_statement)
            FILTER (WHERE external_share_consent IS NOT NULL))[1] AS external_share_consent,
        (array_agg(CASE WHEN waits THEN license_type END ORDER BY verified_at DESC, is_statement)
            FILTER (WHERE license_type IS NOT NULL))[1] AS license_type
    FROM known
    GROUP BY provenance_id
),
changed AS (
    UPDATE provenance AS row
    SET last_verified_at = greatest(row.last_verified_at, newest.verified_at),
        permission_flag = coalesce(newest.permission_flag, row.permission_flag),
        external_share_consent = coalesce(newest.external_share_consent, row.external_share_consent),
        license_type = coalesce(newest.license_type::license_type, row.license_type)
    FROM newest
    WHERE row.id = newest.provenance_id
    RETURNING row.id
),
settled AS (
    UPDATE kept_verifications AS verification
    SET applied_at = now()
    FROM changed
    WHERE verification.provenance_id = changed.id AND verification.applied_at IS NULL
)
SELECT NULL::timestamp AS created_at, changed.id IS NOT NULL AS is_changed
FROM held
LEFT JOIN changed USING (id)
