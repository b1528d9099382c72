-- The newest migration that is recorded.
SELECT max(version) AS version FROM schema_migrations
