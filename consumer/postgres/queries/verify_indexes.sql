-- Every index of the named tables, and whether queries can use it.
SELECT (SELECT relname::text FROM pg_class WHERE oid = i.indexrelid) AS name, named.name AS table_name, i.indisvalid AND i.indisready AS usable
FROM unnest($1::text[]) AS named (name)
JOIN pg_index AS i ON i.indrelid = to_regclass(named.name)
