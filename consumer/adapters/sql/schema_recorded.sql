-- Whether migrations are recorded at all. Files that were run with psql alone leave no record.
SELECT to_regclass('schema_migrations') IS NOT NULL AS recorded
