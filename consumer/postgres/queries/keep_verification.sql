-- Keep every check. If two have the same time, each field keeps the value that was read last.
INSERT INTO kept_verifications AS kept
    (provenance_id, verified_at, permission_flag, external_share_consent, license_type)
SELECT
    provenance_id,
    verified_at,
    (array_agg(permission_flag ORDER BY ctid DESC) FILTER (WHERE permission_flag IS NOT NULL))[1],
    (array_agg(external_share_consent ORDER BY ctid DESC) FILTER (WHERE external_share_consent IS NOT NULL))[1],
    (array_agg(license_type::text ORDER BY ctid DESC) FILTER (WHERE license_type IS NOT NULL))[1]
FROM stage_verification
GROUP BY provenance_id, verified_at
ORDER BY provenance_id, verified_at
ON CONFLICT (provenance_id, verified_at, is_statement) DO UPDATE
SET permission_flag = coalesce(excluded.permission_flag, kept.permission_flag),
    external_share_consent = coalesce(excluded.external_share_consent, kept.external_share_consent),
    license_type = coalesce(excluded.license_type, kept.license_type),
    applied_at = NULL,
    sqlstate = NULL
