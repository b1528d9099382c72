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
