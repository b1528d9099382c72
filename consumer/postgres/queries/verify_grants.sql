-- Privileges of the named roles on the named tables, without the roles' own tables. For a privilege that is granted
-- only on columns, also the columns.
-- $1 tables  $2 roles
SELECT r.rolname::text AS role, named.name AS table_name, acl.privilege_type AS privilege, '{}'::text[] AS columns
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name)
CROSS JOIN aclexplode(c.relacl) AS acl
JOIN pg_roles AS r ON r.oid = acl.grantee AND r.rolname = ANY ($2::text[]) AND r.oid <> c.relowner
UNION ALL
SELECT r.rolname::text, named.name, acl.privilege_type, array_agg(a.attname::text ORDER BY a.attname::text COLLATE "C")
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
CROSS JOIN aclexplode(a.attacl) AS acl
JOIN pg_roles AS r ON r.oid = acl.grantee AND r.rolname = ANY ($2::text[]) AND r.oid <> c.relowner
GROUP BY r.rolname, named.name, acl.privilege_type
