-- Rollback of 0008_add_row_security: no row is lost, and every role sees again what its grants let it.
-- A role is dropped only when nothing and nobody needs it any more: it may be in use in another database of the server,
-- hold privileges that others gave it, or have members.
-- squawk-ignore-file ban-drop-function

BEGIN;
SET LOCAL lock_timeout = '5s';

DROP TRIGGER IF EXISTS mark_days_of_deleted_dialogues ON ai_dialogue_log;
DROP FUNCTION IF EXISTS mark_days_of_deleted_dialogues();

DROP POLICY IF EXISTS ai_dialogue_user_isolation ON ai_dialogue_log;
DROP POLICY IF EXISTS ai_dialogue_ingest ON ai_dialogue_log;
DROP POLICY IF EXISTS ai_dialogue_compliance ON ai_dialogue_log;
DROP POLICY IF EXISTS provenance_read_policy ON provenance;
DROP POLICY IF EXISTS provenance_ingest ON provenance;
DROP POLICY IF EXISTS provenance_compliance ON provenance;
ALTER TABLE IF EXISTS ai_dialogue_log DISABLE ROW LEVEL SECURITY;
ALTER TABLE IF EXISTS provenance DISABLE ROW LEVEL SECURITY;

-- What ragledger_owner has in this schema goes to who runs this.
DO $$
DECLARE
  handed_back record;
BEGIN
  IF to_regrole('ragledger_owner') IS NULL OR current_user = 'ragledger_owner' THEN
    RETURN;
  END IF;
  FOR handed_back IN
    SELECT 'TABLE' AS sort, oid::regclass::text AS name
    FROM pg_class
    WHERE relowner = to_regrole('ragledger_owner') AND relnamespace = current_schema()::regnamespace
      AND relkind IN ('r', 'p')
    UNION ALL
    SELECT 'TYPE', oid::regtype::text
    FROM pg_type
    WHERE typowner = to_regrole('ragledger_owner') AND typnamespace = current_schema()::regnamespace AND typtype = 'e'
    UNION ALL
    SELECT 'FUNCTION', oid::regprocedure::text
    FROM pg_proc
    WHERE proowner = to_regrole('ragledger_owner') AND pronamespace = current_schema()::regnamespace
  LOOP
    EXECUTE format('ALTER %s %s OWNER TO CURRENT_USER', handed_back.sort, handed_back.name);
  END LOOP;
END
$$;

-- Not DROP OWNED: that would take the role's privileges on other databases too.
DO $$
DECLARE
  ours CONSTANT text[] := ARRAY[
    'ragledger_owner', 'ragledger_migrator', 'ragledger_ingest', 'ragledger_reader', 'ragledger_compliance',
    'ragledger_dashboards'
  ];
  held record;
BEGIN
  FOR held IN
    SELECT r.rolname AS role, format('TABLE %s', c.oid::regclass) AS thing
    FROM pg_class AS c
    JOIN pg_roles AS r ON r.rolname = ANY (ours) AND r.oid <> c.relowner AND pg_has_role(c.relowner, 'USAGE')
    WHERE c.relnamespace = current_schema()::regnamespace
      AND (EXISTS (SELECT FROM aclexplode(c.relacl) WHERE grantee = r.oid)
           OR EXISTS (SELECT FROM pg_attribute AS a, aclexplode(a.attacl) AS acl
                      WHERE a.attrelid = c.oid AND acl.grantee = r.oid))
    UNION ALL
    SELECT r.rolname, format('SCHEMA %s', n.oid::regnamespace)
    FROM pg_namespace AS n, aclexplode(n.nspacl) AS acl JOIN pg_roles AS r ON r.oid = acl.grantee
    WHERE n.nspname = current_schema() AND r.rolname = ANY (ours) AND pg_has_role(n.nspowner, 'USAGE')
    UNION ALL
    SELECT r.rolname, format('DATABASE %I', d.datname)
    FROM pg_database AS d, aclexplode(d.datacl) AS acl JOIN pg_roles AS r ON r.oid = acl.grantee
    WHERE d.datname = current_database() AND r.rolname = ANY (ours) AND pg_has_role(d.datdba, 'USAGE')
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %I', held.thing, held.role);
  END LOOP;
END
$$;

DO $$
DECLARE
  ours CONSTANT text[] := ARRAY[
    'ragledger_owner', 'ragledger_migrator', 'ragledger_ingest', 'ragledger_reader', 'ragledger_compliance',
    'ragledger_dashboards'
  ];
  role record;
BEGIN
  FOR role IN
    SELECT rolname AS name, EXISTS (
      SELECT FROM pg_auth_members AS m
      WHERE m.roleid = r.oid AND pg_get_userbyid(m.member) <> ALL (ours || current_user::text)
    ) AS has_members
    FROM pg_roles AS r
    WHERE rolname = ANY (ours) AND rolname <> current_user
    ORDER BY rolname DESC  -- ragledger_owner before ragledger_migrator, whose one right is to be a member of it
  LOOP
    BEGIN
      IF role.has_members THEN
        RAISE NOTICE 'role % stays: it has members', role.name;
      ELSIF role.name = 'ragledger_migrator' AND to_regrole('ragledger_owner') IS NOT NULL THEN
        RAISE NOTICE 'role % stays, as ragledger_owner does', role.name;
      ELSE
        EXECUTE format('DROP ROLE IF EXISTS %I', role.name);
      END IF;
    EXCEPTION
      WHEN dependent_objects_still_exist THEN
        RAISE NOTICE 'role % stays: it is in use elsewhere', role.name;
      WHEN insufficient_privilege THEN
        RAISE NOTICE 'role % stays: % may not drop it', role.name, current_user;
    END;
  END LOOP;
END
$$;

COMMIT;
