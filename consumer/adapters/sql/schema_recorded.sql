-- Whether migrations are recorded at all: files run with psql alone leave no record.
SELECT to_regclass('schema_migrations') IS NOT NULL AS recorded
