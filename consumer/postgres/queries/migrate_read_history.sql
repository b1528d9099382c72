-- All applied files.
SELECT version, name, checksum, applied_at, applied_by, execution_ms
FROM schema_migrations
ORDER BY version
