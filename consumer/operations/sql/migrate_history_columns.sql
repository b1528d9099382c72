-- The columns of the schema_migrations that this search path finds; none where there is no such table.
SELECT attname::text AS name
FROM pg_attribute
WHERE attrelid = to_regclass('schema_migrations') AND attnum > 0 AND NOT attisdropped
