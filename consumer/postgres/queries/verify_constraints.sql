-- Every constraint of the named tables, and whether it is validated for all rows.
SELECT conname::text AS name, named.name AS table_name, convalidated AS validated
FROM unnest($1::text[]) AS named (name)
JOIN pg_constraint ON conrelid = to_regclass(named.name)
