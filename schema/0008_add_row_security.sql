-- 0008_add_row_security: who sees which rows, roles to give to people and programs, marks for the days of deleted rows.
--
-- Every role that is not the owner of the tables, the service's too, sees no row of ai_dialogue_log and provenance from
-- here on, unless it is given one of the roles below or a policy of its own. Not FORCE: the owner has to see all rows, or
-- indexes, foreign keys and backups would work on some of them. Nobody is meant to log in as the owner.
--
-- Roles belong to the whole server. Where another database of it has made them they are used as they are; where they are
-- missing and this role may not make them, a WARNING says so, policies are made all the same, and the file is run again
-- once an administrator has made them.
--
-- Many transactions, none of which locks two tables: so the file can run while rows are written and days computed.

-- ── roles ───────────────────────────────────────────────────────────────────────────────────────────────────────────

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  wanted record;
  refused text[] := '{}';
BEGIN
  FOR wanted IN
    SELECT * FROM (VALUES
      ('ragledger_owner', 'Owns the tables of ragledger; nobody logs in as it'),
      ('ragledger_migrator', 'May do what the owner may: for who runs migrations'),
      ('ragledger_ingest', 'May write what the service writes: for the service'),
      ('ragledger_reader', 'Sees dialogues and provenance under the policies: for the application'),
      ('ragledger_compliance', 'Sees every row and changes none: for auditors and data protection'),
      ('ragledger_dashboards', 'Sees daily aggregates and plugins, never a dialogue: for Grafana and the like')
    ) AS roles (name, meaning)
    WHERE to_regrole(name) IS NULL
  LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', wanted.name);
      EXECUTE format('COMMENT ON ROLE %I IS %L', wanted.name, wanted.meaning);
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database of this server has made it in this moment
      WHEN insufficient_privilege THEN
        refused := refused || format('CREATE ROLE %I NOLOGIN', wanted.name);
    END;
  END LOOP;

  -- Of roles that are missing, membership is not known.
  IF pg_has_role(to_regrole('ragledger_migrator'), to_regrole('ragledger_owner'), 'MEMBER') IS NOT TRUE THEN
    BEGIN
      GRANT ragledger_owner TO ragledger_migrator;
    EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
      refused := refused || 'GRANT ragledger_owner TO ragledger_migrator'::text;
    END;
  END IF;

  IF cardinality(refused) > 0 THEN
    RAISE WARNING '% may not make all the roles of ragledger: what is for the missing ones is left out', current_user
      USING HINT = format('As an administrator: %s. Then run this file again.', array_to_string(refused, '; '));
  END IF;
END
$$;

-- What each may do. consumer/operations/roles.py says the same, and `ragledger migrate verify` compares.
-- schema_migrations is not there where the files are run with psql alone.
DO $$
DECLARE
  wanted record;
BEGIN
  FOR wanted IN
    SELECT grants.*, relnamespace::regnamespace AS place FROM (VALUES
      ('ragledger_ingest', 'ai_dialogue_log', 'INSERT'),
      -- What a day is computed from. No question and no answer.
      ('ragledger_ingest', 'ai_dialogue_log', 'SELECT (id, user_id, created_at, citations, latency_ms, token_cost_jpy,
        prompt_tokens, completion_tokens, total_tokens, relevance_score, user_feedback)'),
      ('ragledger_ingest', 'ai_dialogue_log', 'UPDATE (user_feedback)'),
      ('ragledger_ingest', 'provenance', 'INSERT, SELECT (id, last_verified_at, permission_flag, external_share_consent,
        license_type), UPDATE (last_verified_at, permission_flag, external_share_consent, license_type)'),
      ('ragledger_ingest', 'kept_feedback', 'SELECT, INSERT, UPDATE'),
      ('ragledger_ingest', 'kept_verifications', 'SELECT, INSERT, UPDATE'),
      ('ragledger_ingest', 'plugin_registry', 'SELECT, INSERT, UPDATE'),
      ('ragledger_ingest', 'rag_metrics_history', 'SELECT, INSERT, UPDATE'),
      ('ragledger_ingest', 'ingest_ledger', 'SELECT, INSERT, UPDATE (next_offset, inserted, duplicates, amended,
        dead_lettered, gaps, epoch, owner, updated_at)'),
      ('ragledger_ingest', 'dead_letters', 'SELECT, INSERT, UPDATE (reason, detail, sqlstate, replayed_at,
        discarded_at)'),
      ('ragledger_ingest', 'touched_days', 'SELECT, INSERT, DELETE'),
      ('ragledger_ingest', 'schema_migrations', 'SELECT'),
      ('ragledger_reader', 'ai_dialogue_log', 'SELECT'),
      ('ragledger_reader', 'provenance', 'SELECT'),
      ('ragledger_compliance', 'ai_dialogue_log', 'SELECT'),
      ('ragledger_compliance', 'provenance', 'SELECT'),
      ('ragledger_compliance', 'rag_metrics_history', 'SELECT'),
      ('ragledger_compliance', 'plugin_registry', 'SELECT'),
      ('ragledger_compliance', 'ingest_ledger', 'SELECT'),
      ('ragledger_compliance', 'dead_letters', 'SELECT'),
      ('ragledger_compliance', 'kept_feedback', 'SELECT'),
      ('ragledger_compliance', 'kept_verifications', 'SELECT'),
      ('ragledger_dashboards', 'rag_metrics_history', 'SELECT'),
      ('ragledger_dashboards', 'plugin_registry', 'SELECT')
    ) AS grants (role, relation, privileges)
    JOIN pg_class AS c ON c.oid = to_regclass(relation)
    WHERE to_regrole(role) IS NOT NULL
  LOOP
    EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', wanted.place, wanted.role);
    EXECUTE format('GRANT %s ON %I TO %I', wanted.privileges, wanted.relation, wanted.role);
  END LOOP;
END
$$;

DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    -- The service inserts from a temporary table where COPY is refused to it, and where ids come twice.
    IF pg_has_role(current_user, (SELECT datdba FROM pg_database WHERE datname = current_database()), 'USAGE') THEN
      EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO ragledger_ingest', current_database());
    ELSIF NOT has_database_privilege('ragledger_ingest', current_database(), 'TEMPORARY') THEN
      RAISE WARNING 'ragledger_ingest may not make temporary tables in this database'
        USING HINT = format('As its owner: GRANT TEMPORARY ON DATABASE %I TO ragledger_ingest.', current_database());
    END IF;
  END IF;
END
$$;
COMMIT;

-- ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────

-- For readers: a setting that is unset, empty or no UUID is nobody. No rows, and no error that would end an
-- administrator's query. In a subquery of its own each setting is read once a query instead of once a row, and an index
-- can be used.
-- For the service and for auditors: every row. Row-level security stops COPY for the service all the same.
BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE ai_dialogue_log ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS ai_dialogue_user_isolation ON ai_dialogue_log;
DROP POLICY IF EXISTS ai_dialogue_ingest ON ai_dialogue_log;
DROP POLICY IF EXISTS ai_dialogue_compliance ON ai_dialogue_log;
CREATE POLICY ai_dialogue_user_isolation ON ai_dialogue_log FOR SELECT USING (
  user_id = (
    SELECT substring(current_setting('app.current_user_id', true) FROM '^(?:[0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}$')::uuid
  )
);
COMMENT ON POLICY ai_dialogue_user_isolation ON ai_dialogue_log IS
  'Users see their own dialogues: app.current_user_id says who the user is';
DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    CREATE POLICY ai_dialogue_ingest ON ai_dialogue_log TO ragledger_ingest USING (true) WITH CHECK (true);
    COMMENT ON POLICY ai_dialogue_ingest ON ai_dialogue_log IS
      'The service reaches every row; its grants say what it may do';
  END IF;
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    CREATE POLICY ai_dialogue_compliance ON ai_dialogue_log FOR SELECT TO ragledger_compliance USING (true);
    COMMENT ON POLICY ai_dialogue_compliance ON ai_dialogue_log IS 'Auditors see every dialogue';
  END IF;
END
$$;
COMMIT;

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE provenance ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS provenance_read_policy ON provenance;
DROP POLICY IF EXISTS provenance_ingest ON provenance;
DROP POLICY IF EXISTS provenance_compliance ON provenance;
CREATE POLICY provenance_read_policy ON provenance FOR SELECT USING (
  acquired_by = (
    SELECT substring(current_setting('app.current_user_id', true) FROM '^(?:[0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}$')::uuid
  )
  OR (SELECT current_setting('app.user_role', true) = 'admin')
);
COMMENT ON POLICY provenance_read_policy ON provenance IS
  'Who acquired a piece of content sees its provenance; so does everybody while app.user_role is admin';
DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    CREATE POLICY provenance_ingest ON provenance TO ragledger_ingest USING (true) WITH CHECK (true);
    COMMENT ON POLICY provenance_ingest ON provenance IS 'The service reaches every row; its grants say what it may do';
  END IF;
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    CREATE POLICY provenance_compliance ON provenance FOR SELECT TO ragledger_compliance USING (true);
    COMMENT ON POLICY provenance_compliance ON provenance IS 'Auditors see all provenance';
  END IF;
END
$$;
COMMIT;

-- ── the owner ───────────────────────────────────────────────────────────────────────────────────────────────────────

-- What belongs to the migrating role itself goes to ragledger_owner, so that others can migrate later; the migrating role
-- becomes a member and keeps all its rights. What belongs to somebody else, such as the application, stays theirs.
BEGIN;
DO $$
BEGIN
  IF to_regrole('ragledger_owner') IS NULL OR current_user = 'ragledger_owner' THEN
    RETURN;
  END IF;
  EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO ragledger_owner', current_schema());
  IF NOT pg_has_role('ragledger_owner', 'USAGE') THEN
    EXECUTE format('GRANT ragledger_owner TO %I', current_user);
  END IF;
EXCEPTION WHEN insufficient_privilege THEN
  NULL;  -- said below
END
$$;
COMMIT;

-- Outside of a transaction, so that each object is handed over in one of its own.
DO $$
DECLARE
  mine CONSTANT oid := (SELECT oid FROM pg_roles WHERE rolname = current_user);
  kind CONSTANT text := CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END;
  handed_over record;
BEGIN
  IF to_regrole('ragledger_owner') IS NULL OR current_user = 'ragledger_owner' THEN
    RETURN;
  END IF;
  IF NOT has_schema_privilege('ragledger_owner', current_schema(), 'CREATE')
    OR NOT pg_has_role('ragledger_owner', 'USAGE') OR NOT pg_has_role('ragledger_owner', kind)
  THEN
    RAISE WARNING 'the tables stay with %', current_user
      USING HINT = format('As an administrator: GRANT ragledger_owner TO %I; GRANT USAGE, CREATE ON SCHEMA %I TO '
                          'ragledger_owner. Then run this file again.', current_user, current_schema());
    RETURN;
  END IF;
  FOR handed_over IN
    SELECT 'TABLE' AS sort, c.oid::regclass::text AS name
    FROM pg_class AS c
    WHERE c.relowner = mine AND c.oid IN (
      to_regclass('ai_dialogue_log'), to_regclass('provenance'), to_regclass('rag_metrics_history'),
      to_regclass('plugin_registry'), to_regclass('ingest_ledger'), to_regclass('dead_letters'),
      to_regclass('touched_days'), to_regclass('kept_feedback'), to_regclass('kept_verifications'),
      to_regclass('schema_migrations')
    )
    UNION ALL
    SELECT 'TABLE', part.relid::text
    FROM pg_partition_tree(to_regclass('ai_dialogue_log')) AS part
    JOIN pg_class AS c ON c.oid = part.relid AND c.relowner = mine AND part.level > 0
    UNION ALL
    SELECT 'TYPE', t.oid::regtype::text
    FROM pg_type AS t
    WHERE t.typowner = mine
      AND t.oid IN (to_regtype('content_type'), to_regtype('acquisition_method'), to_regtype('license_type'))
    UNION ALL
    SELECT 'FUNCTION', p.oid::regprocedure::text
    FROM pg_proc AS p
    WHERE p.proowner = mine
      AND p.oid IN (to_regprocedure('update_updated_at_column()'), to_regprocedure('mark_days_of_deleted_dialogues()'),
        to_regprocedure('plugin_config_is_valid(jsonb)'))
  LOOP
    PERFORM set_config('lock_timeout', '5s', true);
    EXECUTE format('ALTER %s %s OWNER TO ragledger_owner', handed_over.sort, handed_over.name);
    COMMIT;
  END LOOP;
END
$$;

-- ── days of deleted dialogues ───────────────────────────────────────────────────────────────────────────────────────

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Whoever deletes a dialogue, by its user's foreign key too, marks its day, so that the day is computed anew. The marks
-- are made with the rights of the table's owner: who deletes a user need not know of touched_days. The database does not
-- know the business time zone, so the days before and after count as well, if they were ever computed or marked.
CREATE OR REPLACE FUNCTION mark_days_of_deleted_dialogues() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $function$
BEGIN
  INSERT INTO touched_days (day)
  SELECT DISTINCT gone.day + shift
  FROM (SELECT DISTINCT DATE(created_at) AS day FROM deleted_dialogues) AS gone, generate_series(-1, 1) AS shift
  WHERE EXISTS (SELECT FROM rag_metrics_history AS history WHERE DATE(history.date) = gone.day + shift)
     OR EXISTS (SELECT FROM touched_days AS marked WHERE marked.day = gone.day + shift);
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION mark_days_of_deleted_dialogues() IS
  'Trigger function: marks the days of deleted dialogues, so that their aggregates are computed anew';
REVOKE EXECUTE ON FUNCTION mark_days_of_deleted_dialogues() FROM PUBLIC;
DO $$
BEGIN
  -- Of whoever deletes, no search path may lead to tables of the same name.
  EXECUTE format(
    'ALTER FUNCTION mark_days_of_deleted_dialogues() SET search_path = pg_catalog, %I, pg_temp', current_schema()
  );
  IF (SELECT relowner FROM pg_class WHERE oid = to_regclass('touched_days')) = to_regrole('ragledger_owner') THEN
    ALTER FUNCTION mark_days_of_deleted_dialogues() OWNER TO ragledger_owner;
  END IF;
END
$$;

-- For each statement and for deletes alone: inserts and COPY never meet it.
CREATE OR REPLACE TRIGGER mark_days_of_deleted_dialogues
  AFTER DELETE ON ai_dialogue_log
  REFERENCING OLD TABLE AS deleted_dialogues
  FOR EACH STATEMENT EXECUTE FUNCTION mark_days_of_deleted_dialogues();
COMMENT ON TRIGGER mark_days_of_deleted_dialogues ON ai_dialogue_log IS 'Days that lose a dialogue are computed anew';

COMMIT;
