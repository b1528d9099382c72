-- The policies of the named tables: command, roles and condition, and whether they are in force.
-- $1 tables
SELECT
    named.name AS table_name,
    c.relrowsecurity AS in_force,
    p.polname::text AS name,
    p.polcmd::text AS command,
    p.polpermissive AS permissive,
    ARRAY(SELECT rolname::text FROM pg_roles WHERE oid = ANY (p.polroles)) AS roles,
    pg_get_expr(p.polqual, p.polrelid) AS condition
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name)
LEFT JOIN pg_policy AS p ON p.polrelid = c.oid
WHERE c.relrowsecurity OR p.oid IS NOT NULL
