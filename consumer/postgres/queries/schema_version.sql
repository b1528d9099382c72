-- The newest recorded migration.
SELECT max(version) AS version FROM schema_migrations
