-- Whether migrations are recorded at all: files that were run with psql alone leave no record. Also the encoding of the
-- database, because psql creates the tables even in a database that cannot hold every text.
SELECT to_regclass('schema_migrations') IS NOT NULL AS recorded, current_setting('server_encoding') AS encoding
