-- Statements about the catalog, for `ragledger migrate verify`.


-- name: verify_callers
-- Functions that a role may not call although the row constraints, indexes and views that it uses call them. The cause
-- is that default privileges take EXECUTE from PUBLIC. For the named roles that exist, and our own. Triggers run
-- without this right.
-- $1 functions  $2 roles
SELECT quote_ident(rolname) AS role, pg_proc.oid::regprocedure::text AS name
FROM pg_proc
JOIN pg_roles ON rolname = ANY ($2::text[]) OR rolname = current_user
WHERE pronamespace = (SELECT relnamespace FROM pg_class WHERE pg_class.oid = to_regclass('ingest_ledger'))
  AND proname = ANY ($1::text[]) AND prorettype <> 'trigger'::regtype AND NOT has_function_privilege(pg_roles.oid, pg_proc.oid, 'EXECUTE')
ORDER BY role, name


-- name: verify_columns
-- Every column of the named tables: its type, followed by "not null" if this applies, and its comment.
SELECT
  named.name AS table_name,
  a.attname::text AS name,
  format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END AS type,
  col_description(a.attrelid, a.attnum) AS comment
FROM unnest($1::text[]) AS named (name)
JOIN pg_attribute AS a ON a.attrelid = to_regclass(named.name) AND a.attnum > 0 AND NOT a.attisdropped


-- name: verify_constraints
-- Every constraint of the named tables, and whether it is validated for all rows.
SELECT conname::text AS name, named.name AS table_name, convalidated AS validated
FROM unnest($1::text[]) AS named (name)
JOIN pg_constraint ON conrelid = to_regclass(named.name)


-- name: verify_delete_triggers
-- The enabled triggers of the named tables that run after each deleting statement.
-- $1 tables
SELECT named.name AS table_name, t.tgname::text AS name
FROM unnest($1::text[]) AS named (name)
JOIN pg_trigger AS t ON t.tgrelid = to_regclass(named.name)
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 8 > 0 AND t.tgtype & 1 = 0


-- name: verify_enums
-- The named enums with their values in order.
SELECT named.name, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
FROM unnest($1::text[]) AS named (name)
JOIN pg_enum AS e ON e.enumtypid = to_regtype(named.name)
GROUP BY named.name


-- name: verify_everybody
-- Rights of PUBLIC on our tables, views, sequences and functions, and on dialogues outside ai_dialogue_log. Default
-- privileges give such rights to everything that is created later, and a backup restored without privileges leaves
-- every function open. SELECT on a table with row-level security is left to its policies. If a table, view or sequence
-- is open, also the default privileges that open the next one.
-- $1 tables and views  $2 functions
WITH here AS (
    SELECT relnamespace AS oid FROM pg_class WHERE pg_class.oid = to_regclass('ingest_ledger')
),
named AS (
    SELECT pg_class.* FROM pg_class JOIN here ON relnamespace = here.oid
    WHERE relkind IN ('r', 'p', 'v') AND (
        relname = ANY ($1::text[]) OR relname ~ '^ai_dialogue_log_(new|before|deleted|default|[0-9]{4}_[0-9]{2})$'
    )
),
ours AS (
    SELECT * FROM named
    UNION
    SELECT pg_class.* FROM pg_class JOIN pg_depend ON objid = pg_class.oid AND classid = 'pg_class'::regclass
    WHERE relkind = 'S' AND refclassid = 'pg_class'::regclass AND refobjid IN (SELECT oid FROM named)
),
relations AS (
    SELECT ours.oid::regclass::text AS name
    FROM ours CROSS JOIN aclexplode(relacl) AS acl
    WHERE acl.grantee = 0 AND NOT (relrowsecurity AND privilege_type = 'SELECT')
    UNION
    SELECT ours.oid::regclass::text
    FROM ours JOIN pg_attribute ON attrelid = ours.oid AND NOT attisdropped CROSS JOIN aclexplode(attacl) AS acl
    WHERE acl.grantee = 0 AND NOT (relrowsecurity AND privilege_type = 'SELECT')
)
SELECT 'relation' AS kind, name FROM relations
UNION ALL
SELECT DISTINCT 'function', pg_proc.oid::regprocedure::text
FROM pg_proc JOIN here ON pronamespace = here.oid
CROSS JOIN aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
WHERE acl.grantee = 0 AND (proname = ANY ($2::text[]) OR proname LIKE 'mirror\_ai\_dialogue\_log\_%')
UNION ALL
SELECT DISTINCT 'default', format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE ALL ON %s FROM PUBLIC',
    pg_get_userbyid(defaclrole),
    CASE WHEN defaclnamespace <> 0 THEN format(' IN SCHEMA %I', defaclnamespace::regnamespace::text) ELSE '' END,
    CASE defaclobjtype WHEN 'r' THEN 'TABLES' ELSE 'SEQUENCES' END)
FROM pg_default_acl JOIN here ON defaclnamespace IN (0, here.oid) CROSS JOIN aclexplode(defaclacl) AS acl
WHERE acl.grantee = 0 AND defaclobjtype IN ('r', 'S') AND EXISTS (SELECT FROM relations)
ORDER BY kind, name


-- name: verify_grants
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


-- name: verify_indexes
-- Every index of the named tables, and whether queries can use it.
SELECT (SELECT relname::text FROM pg_class WHERE oid = i.indexrelid) AS name, named.name AS table_name, i.indisvalid AND i.indisready AS usable
FROM unnest($1::text[]) AS named (name)
JOIN pg_index AS i ON i.indrelid = to_regclass(named.name)


-- name: verify_partitions
-- If ai_dialogue_log is partitioned: its partitions, whether one of them is the default, and the number of existing
-- triggers that maintain known ids. No row if it is not partitioned.
SELECT
    count(inhrelid) AS partitions,
    coalesce(bool_or(pg_get_expr(child.relpartbound, child.oid) = 'DEFAULT'), false) AS has_default,
    (
        SELECT count(*) FROM pg_trigger WHERE tgrelid = parent.oid AND tgname LIKE 'keep\_dialogue\_id\_on\_%' AND tgenabled <> 'D'
    ) AS keepers
FROM pg_class AS parent
LEFT JOIN pg_inherits ON inhparent = parent.oid
LEFT JOIN pg_class AS child ON child.oid = inhrelid
WHERE parent.oid = to_regclass('ai_dialogue_log') AND parent.relkind = 'p'
GROUP BY parent.oid


-- name: verify_plugin_insert
-- Insert a trial row that uses every default. The surrounding transaction is rolled back.
INSERT INTO plugin_registry (name, source, capabilities, version)
VALUES ('Test Plugin ' || gen_random_uuid(), 'test', '{"list": true}'::jsonb, '1.0.0')
RETURNING id::text AS id


-- name: verify_policies
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


-- name: verify_roles
-- The named roles that exist on this server, and whether each may act as ragledger_owner.
-- $1 roles
SELECT rolname::text AS name, pg_has_role(oid, to_regrole('ragledger_owner'), 'MEMBER') IS TRUE AS acts_as_owner
FROM pg_roles
WHERE rolname = ANY ($1::text[])


-- name: verify_tables
-- The named tables that exist, ordinary or partitioned, each with its comment.
SELECT named.name, obj_description(c.oid, 'pg_class') AS comment
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name) AND c.relkind IN ('r', 'p')


-- name: verify_triggers
-- The enabled triggers of the named tables that set updated_at.
SELECT named.name AS table_name, t.tgname::text AS name
FROM unnest($1::text[]) AS named (name)
JOIN pg_trigger AS t ON t.tgrelid = to_regclass(named.name)
WHERE t.tgfoid = to_regprocedure('update_updated_at_column()') AND NOT t.tgisinternal AND t.tgenabled <> 'D'


-- name: verify_views
-- The named views that exist, and whether each runs with the rights of the role that queries it.
SELECT named.name, coalesce('security_invoker=true' = ANY (c.reloptions), false) AS invoker
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name) AND c.relkind = 'v'
