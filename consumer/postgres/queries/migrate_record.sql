-- Record a file that was run. If the row is already there, another process has run the same file, and its row stays.
INSERT INTO schema_migrations (version, name, checksum, execution_ms)
VALUES ($1, $2, $3, $4)
ON CONFLICT (version) DO NOTHING
