-- Statements about provenance, for `ragledger provenance export`.


-- name: provenance_each_acquired_by
-- Every acquired_by of the exported provenance, once.
-- $1 acquired at or after, or null  $2 acquired before, or null  $3 content or null
SELECT DISTINCT acquired_by
FROM provenance
WHERE ($1::timestamp IS NULL OR acquired_at >= $1)
  AND ($2::timestamp IS NULL OR acquired_at < $2)
  AND ($3::uuid IS NULL OR content_id = $3)
  AND acquired_by IS NOT NULL
ORDER BY acquired_by


-- name: provenance_each_content_id
-- Every content_id of the exported provenance, once.
-- $1 acquired at or after, or null  $2 acquired before, or null  $3 content or null
SELECT DISTINCT content_id
FROM provenance
WHERE ($1::timestamp IS NULL OR acquired_at >= $1)
  AND ($2::timestamp IS NULL OR acquired_at < $2)
  AND ($3::uuid IS NULL OR content_id = $3)
  AND content_id IS NOT NULL
ORDER BY content_id


-- name: provenance_each_source_uri
-- Every source_uri of the exported provenance, once.
-- $1 acquired at or after, or null  $2 acquired before, or null  $3 content or null
SELECT DISTINCT source_uri
FROM provenance
WHERE ($1::timestamp IS NULL OR acquired_at >= $1)
  AND ($2::timestamp IS NULL OR acquired_at < $2)
  AND ($3::uuid IS NULL OR content_id = $3)
  AND source_uri IS NOT NULL
ORDER BY source_uri


-- name: provenance_rows
-- Provenance with the columns of its export.
-- $1 acquired at or after, or null  $2 acquired before, or null  $3 content or null
SELECT
    id, content_id, content_type::text AS content_type, source_uri, license_type::text AS license_type,
    spdx_license_id(license_type::text) AS license_spdx, acquisition_method::text AS acquisition_method, acquired_at,
    acquired_by, retention_years, retention_ends_at(acquired_at, retention_years) AS retention_ends_at,
    external_share_consent, permission_flag, last_verified_at, is_on_legal_hold(access_policy) AS on_legal_hold,
    access_policy #>> '{c2pa,manifest_url}' AS c2pa_manifest_url,
    access_policy #>> '{c2pa,manifest_store_uri}' AS c2pa_manifest_store_uri,
    access_policy #>> '{c2pa,hash}' AS c2pa_hash, access_policy #>> '{c2pa,alg}' AS c2pa_alg
FROM provenance
WHERE ($1::timestamp IS NULL OR acquired_at >= $1)
  AND ($2::timestamp IS NULL OR acquired_at < $2)
  AND ($3::uuid IS NULL OR content_id = $3)
ORDER BY acquired_at, id
