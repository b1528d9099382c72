-- Whether migrations are recorded at all: files run with psql alone leave no record. And whether the database holds any
-- text: psql makes the tables in one of another encoding too.
SELECT to_regclass('schema_migrations') IS NOT NULL AS recorded, current_setting('server_encoding') AS encoding
