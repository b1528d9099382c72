-- A file has run. Where the row is there already, somebody else has run the same file: theirs stays.
INSERT INTO schema_migrations (version, name, checksum, execution_ms)
VALUES ($1, $2, $3, $4)
ON CONFLICT (version) DO NOTHING
