-- Whether migrations are recorded at all. Files that were run with psql alone leave no record. And the encoding of the
-- database, because psql creates the tables in a database that cannot hold every text, too.
SELECT to_regclass('schema_migrations') IS NOT NULL AS recorded, current_setting('server_encoding') AS encoding
