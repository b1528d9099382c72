-- Every source_uri of the exported provenance, once.
-- $1 acquired at or after, or null  $2 acquired before, or null  $3 content or null
SELECT DISTINCT source_uri
FROM provenance
WHERE ($1::timestamp IS NULL OR acquired_at >= $1)
  AND ($2::timestamp IS NULL OR acquired_at < $2)
  AND ($3::uuid IS NULL OR content_id = $3)
  AND source_uri IS NOT NULL
ORDER BY source_uri
