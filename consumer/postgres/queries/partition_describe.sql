-- The contents of a partition, for its manifest, and whether our role can see all of it.
-- {partition}
SELECT count(*) AS rows, min(created_at)::text AS first, max(created_at)::text AS last,
       row_security_active('{partition}') AS hides_rows, current_setting('server_version') AS server_version
FROM {partition}
