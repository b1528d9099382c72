-- The privileges of our role on the named tables that exist: on the whole table if `columns` is null, else on these
-- columns.
-- $1 tables
SELECT named.name AS table_name, privilege, NULL::text[] AS columns
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name)
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS privilege
WHERE has_table_privilege(c.oid, privilege)
UNION ALL
SELECT named.name, privilege, array_agg(a.attname::text)
FROM unnest($1::text[]) AS named (name)
JOIN pg_attribute AS a ON a.attrelid = to_regclass(named.name) AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS privilege
WHERE has_column_privilege(a.attrelid, a.attnum, privilege)
GROUP BY named.name, privilege
