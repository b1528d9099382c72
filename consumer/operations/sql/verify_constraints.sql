-- Every constraint of the named tables, and whether all rows are known to keep it.
SELECT conname::text AS name, named.name AS table_name, convalidated AS validated
FROM unnest($1::text[]) AS named (name)
JOIN pg_constraint ON conrelid = to_regclass(named.name)
