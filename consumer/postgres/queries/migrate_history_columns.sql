-- The columns of the schema_migrations that this search path finds. No row if there is no such table.
SELECT attname::text AS name
FROM pg_attribute
WHERE attrelid = to_regclass('schema_migrations') AND attnum > 0 AND NOT attisdropped
