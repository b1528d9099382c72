-- Indexes of the tables in our schema that no query can use, without those of our own files, which `verify` checks.
SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS table_name
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relnamespace = current_schema()::regnamespace AND c.relkind = 'i'
WHERE NOT (i.indisvalid AND i.indisready) AND c.relname NOT LIKE 'idx\_%'
ORDER BY 1
