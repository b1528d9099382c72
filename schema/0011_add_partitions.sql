-- 0011_add_partitions: what monthly partitions of ai_dialogue_log rest on. It converts nothing: `ragledger partition
-- convert` does, while ingestion goes on.
--
-- PostgreSQL has no unique index across partitions: there the primary key is (id, created_at), and an id with another
-- created_at would be let in. So known_ids keeps every id once, for every writer, by triggers that only a partitioned
-- table has. Writers that keep the ids themselves, many at once, say so for their transaction with the setting
-- ragledger.keeps_ids, and the triggers leave their rows alone.
--
-- Where quote_all_identifiers was on it failed before; where it did not fail it is the same as it was:
-- ragledger: formerly 8b9505dd8e99ee4a7caa783bf059e1758df4610d3e560f7427de86ac9370b2aa
--
-- An ai_dialogue_log that is partitioned already gets the triggers here, and the second transaction collects its ids.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Everything here belongs beside ai_dialogue_log. The functions keep this search path, in which a temporary table comes
-- last and so cannot pass for one of ours.
DO $$
BEGIN
  PERFORM set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = 'ai_dialogue_log'::regclass;
END
$$;

CREATE TABLE IF NOT EXISTS known_ids (
  id UUID CONSTRAINT known_ids_pkey PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS partition_conversions (
  id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT partition_conversions_pkey PRIMARY KEY,
  phase TEXT NOT NULL CONSTRAINT partition_conversions_phase_check
    CHECK (phase IN ('made', 'mirrored', 'copied', 'verified', 'switched', 'done', 'aborted')),
  next_block BIGINT DEFAULT 0 NOT NULL,
  end_block BIGINT DEFAULT 0 NOT NULL,
  rows_copied BIGINT DEFAULT 0 NOT NULL,
  started_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  finished_at TIMESTAMPTZ
);
CREATE UNIQUE INDEX IF NOT EXISTS idx_partition_conversions_open ON partition_conversions ((true))
WHERE finished_at IS NULL;

CREATE TABLE IF NOT EXISTS partition_archives (
  month DATE CONSTRAINT partition_archives_pkey PRIMARY KEY
    CONSTRAINT partition_archives_month_check CHECK (month = date_trunc('month', month::timestamp)::date),
  partition TEXT NOT NULL,
  phase TEXT NOT NULL CONSTRAINT partition_archives_phase_check CHECK (phase IN ('detached', 'exported', 'dropped')),
  row_count BIGINT,
  file TEXT,
  sha256 TEXT CONSTRAINT partition_archives_sha256_check CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  detached_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  dropped_at TIMESTAMPTZ
);

CREATE OR REPLACE FUNCTION keep_dialogue_id() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  CASE TG_OP
    WHEN 'INSERT' THEN INSERT INTO known_ids (id) VALUES (NEW.id);
    WHEN 'UPDATE' THEN UPDATE known_ids SET id = NEW.id WHERE id = OLD.id;
    WHEN 'DELETE' THEN DELETE FROM known_ids WHERE id = OLD.id;
    WHEN 'TRUNCATE' THEN TRUNCATE known_ids;
  END CASE;
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION watch_dialogue_ids() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  event text;
BEGIN
  FOREACH event IN ARRAY ARRAY['INSERT', 'DELETE', 'UPDATE OF id'] LOOP
    EXECUTE format(
      'CREATE OR REPLACE TRIGGER keep_dialogue_id_on_%s AFTER %s ON ai_dialogue_log FOR EACH ROW'
      ' WHEN (current_setting(''ragledger.keeps_ids'', true) IS DISTINCT FROM ''on'')'
      ' EXECUTE FUNCTION keep_dialogue_id()', lower(split_part(event, ' ', 1)), event);
  END LOOP;
  CREATE OR REPLACE TRIGGER keep_dialogue_id_on_truncate AFTER TRUNCATE ON ai_dialogue_log
    FOR EACH STATEMENT EXECUTE FUNCTION keep_dialogue_id();
END
$$;

CREATE OR REPLACE FUNCTION dialogue_partitions(parent regclass)
RETURNS TABLE (partition regclass, is_default boolean, begins_at timestamp, ends_at timestamp)
LANGUAGE sql STABLE SET search_path FROM CURRENT SET datestyle = 'ISO' AS $$
  SELECT child.oid::regclass, bound = 'DEFAULT',
         coalesce(substring(bound FROM 'FROM \(''([^'']+)''\)')::timestamp, '-infinity'),
         coalesce(substring(bound FROM 'TO \(''([^'']+)''\)')::timestamp, 'infinity')
  FROM pg_inherits
  JOIN pg_class AS child ON child.oid = inhrelid
  CROSS JOIN LATERAL pg_get_expr(child.relpartbound, child.oid) AS bound
  WHERE inhparent = parent
$$;

-- What PostgreSQL gives a new partition by itself is its owner and whatever the default privileges say. Nobody shall
-- read a partition around the parent's privileges and policies.
CREATE OR REPLACE FUNCTION dress_dialogue_partition(part regclass, parent regclass, rows_of text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  parents pg_class;
  grantee text;
  options text;
BEGIN
  SELECT * INTO parents FROM pg_class WHERE oid = parent;
  IF parents.relowner <> (SELECT relowner FROM pg_class WHERE oid = part) THEN
    EXECUTE format('ALTER TABLE %s OWNER TO %I', part, pg_get_userbyid(parents.relowner));
  END IF;
  FOR grantee IN
    SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
    FROM pg_class, aclexplode(relacl) AS acl
    WHERE pg_class.oid = part AND acl.grantee <> parents.relowner
  LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', part, grantee);
  END LOOP;
  IF parents.relrowsecurity THEN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', part);
  END IF;
  SELECT array_to_string(reloptions, ', ') INTO options
  FROM pg_class WHERE oid = (SELECT partition FROM dialogue_partitions(parent) WHERE is_default);
  IF options IS NOT NULL THEN
    EXECUTE format('ALTER TABLE %s SET (%s)', part, options);
  END IF;
  EXECUTE format('COMMENT ON TABLE %s IS %L', part, 'Partition of ai_dialogue_log: dialogues of ' || rows_of);
END
$$;

-- Months that should have a partition: the current one and those ahead, and those in the past of which the default
-- partition holds rows. A month that was archived stays away, and rows that are ten years old or dated further ahead are
-- left where they are: a clock that is wrong shall not make partitions.
CREATE OR REPLACE FUNCTION wanted_dialogue_months(months_ahead integer) RETURNS SETOF date
LANGUAGE plpgsql STABLE SET search_path FROM CURRENT AS $$
DECLARE
  this_month CONSTANT timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  beyond CONSTANT timestamp := this_month + make_interval(months => months_ahead + 1);
  default_partition regclass;
  found timestamp := this_month - interval '10 years';
BEGIN
  RETURN QUERY SELECT generate_series(this_month, beyond - interval '1 month', interval '1 month')::date;
  SELECT partition INTO default_partition FROM dialogue_partitions('ai_dialogue_log') WHERE is_default;
  WHILE default_partition IS NOT NULL LOOP
    EXECUTE format('SELECT min(created_at) FROM %s WHERE created_at >= $1 AND created_at < $2', default_partition)
      INTO found USING found, this_month;
    EXIT WHEN found IS NULL;
    RETURN NEXT date_trunc('month', found)::date;
    found := date_trunc('month', found) + interval '1 month';
  END LOOP;
END
$$;

-- One partition: a new table, or one with `content` that was brought back; and the rows of its month that were in the
-- default partition. ATTACH needs the exclusive lock on the
-- default partition in any case; taken first, nothing can come in between counting and moving. Writers of other months
-- are not held up. Who needs the default partition waits while rows are moved, so no more than `at_most` are: where
-- there are more, nothing is made, and `waiting` says how many at least.
CREATE OR REPLACE FUNCTION make_dialogue_partition(
  month date, at_most bigint, content regclass, OUT partition text, OUT moved bigint, OUT waiting bigint
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  from_month CONSTANT timestamp := month;
  to_month CONSTANT timestamp := month + interval '1 month';
  default_partition regclass;
  columns text;
BEGIN
  partition := 'ai_dialogue_log_' || to_char(month, 'YYYY_MM');
  SELECT existing.partition INTO default_partition FROM dialogue_partitions('ai_dialogue_log') AS existing WHERE is_default;
  EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', default_partition);
  EXECUTE format(
    'SELECT count(*) FROM (SELECT FROM %s WHERE created_at >= $1 AND created_at < $2 LIMIT $3 + 1) AS few',
    default_partition) INTO moved USING from_month, to_month, at_most;
  IF moved > at_most THEN
    waiting := moved;
    moved := 0;
    RETURN;
  END IF;
  IF content IS NULL THEN
    EXECUTE format('CREATE TABLE %I (LIKE ai_dialogue_log INCLUDING ALL)', partition);
    PERFORM dress_dialogue_partition(partition::regclass, 'ai_dialogue_log', to_char(month, 'YYYY-MM'));
  ELSE
    partition := content::text;
  END IF;
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
  FROM pg_attribute
  WHERE attrelid = 'ai_dialogue_log'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
  -- The rows stay what they are: their ids are not given up.
  PERFORM set_config('ragledger.keeps_ids', 'on', true);
  EXECUTE format(
    'WITH leaving AS (DELETE FROM %1$s WHERE created_at >= $1 AND created_at < $2 RETURNING %2$s)'
    ' INSERT INTO %3$s (%2$s) SELECT %2$s FROM leaving', default_partition, columns, partition::regclass)
    USING from_month, to_month;
  PERFORM set_config('ragledger.keeps_ids', '', true);
  EXECUTE format(
    'ALTER TABLE ai_dialogue_log ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', partition::regclass, from_month, to_month);
  waiting := 0;
END
$$;

-- The default partition, which takes what belongs to no month. Only a table that others have partitioned has none.
CREATE OR REPLACE FUNCTION make_default_dialogue_partition() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM dialogue_partitions('ai_dialogue_log') WHERE is_default) THEN
    CREATE TABLE ai_dialogue_log_default (LIKE ai_dialogue_log INCLUDING ALL);
    PERFORM dress_dialogue_partition('ai_dialogue_log_default', 'ai_dialogue_log', 'no month that has a partition');
    ALTER TABLE ai_dialogue_log ATTACH PARTITION ai_dialogue_log_default DEFAULT;
  END IF;
END
$$;

-- Makes the first partition that is missing after `after_month`; called again and again until `month` comes back empty,
-- each time in a transaction of its own. It runs with the rights of the tables' owner, so that the service need not have
-- them: it can make partitions, and nothing else. One at a time; who comes second is told that there is nothing to do.
CREATE OR REPLACE FUNCTION ensure_dialogue_partition(
  months_ahead integer, after_month date, at_most bigint,
  OUT month date, OUT partition text, OUT moved bigint, OUT waiting bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '500ms' AS $$
BEGIN
  IF months_ahead NOT BETWEEN 0 AND 24 THEN
    RAISE EXCEPTION 'months_ahead is %: it may be 0 to 24', months_ahead USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('ai_dialogue_log') AND relkind = 'p')
    OR NOT pg_try_advisory_xact_lock(hashtextextended('ragledger partitions', 0)) THEN
    RETURN;
  END IF;
  PERFORM make_default_dialogue_partition();
  SELECT min(wanted) INTO month
  FROM wanted_dialogue_months(months_ahead) AS wanted
  WHERE wanted > after_month
    AND NOT EXISTS (SELECT FROM partition_archives AS archive WHERE archive.month = wanted)
    AND NOT EXISTS (
      SELECT FROM dialogue_partitions('ai_dialogue_log') AS existing
      WHERE NOT is_default AND begins_at < wanted + interval '1 month' AND ends_at > wanted
    );
  IF month IS NOT NULL THEN
    SELECT made.partition, made.moved, made.waiting INTO partition, moved, waiting
    FROM make_dialogue_partition(month, at_most, NULL) AS made;
  END IF;
END
$$;

-- Who may write dialogues may keep their ids and make partitions for them; nobody else may do either.
CREATE OR REPLACE FUNCTION admit_dialogue_writers() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  writer text;
BEGIN
  FOR writer IN
    SELECT DISTINCT quote_ident(pg_get_userbyid(acl.grantee))
    FROM pg_class, aclexplode(relacl) AS acl
    WHERE oid = 'ai_dialogue_log'::regclass AND privilege_type = 'INSERT' AND acl.grantee NOT IN (0, relowner)
  LOOP
    EXECUTE format('GRANT SELECT, INSERT ON known_ids TO %s', writer);
    EXECUTE format('GRANT SELECT ON partition_archives TO %s', writer);
    EXECUTE format('GRANT EXECUTE ON FUNCTION ensure_dialogue_partition(integer, date, bigint) TO %s', writer);
  END LOOP;
END
$$;

REVOKE ALL ON FUNCTION keep_dialogue_id(), watch_dialogue_ids(), dress_dialogue_partition(regclass, regclass, text),
  wanted_dialogue_months(integer), make_dialogue_partition(date, bigint, regclass), make_default_dialogue_partition(),
  ensure_dialogue_partition(integer, date, bigint), admit_dialogue_writers() FROM PUBLIC;

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass AND relkind = 'p') THEN
    PERFORM watch_dialogue_ids();
  END IF;
  PERFORM admit_dialogue_writers();
END
$$;

-- All of it belongs to the owner of the other tables; the functions with the owner's rights then have those of the dialogues.
DO $$
DECLARE
  ours record;
BEGIN
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) IS DISTINCT FROM to_regrole('ragledger_owner') THEN
    RETURN;
  END IF;
  FOR ours IN
    SELECT 'TABLE' AS sort, unnest(ARRAY['known_ids', 'partition_conversions', 'partition_archives']) AS name
    UNION ALL
    SELECT 'FUNCTION', oid::regprocedure::text
    FROM pg_proc
    WHERE pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass)
      AND proname IN (
        'keep_dialogue_id', 'watch_dialogue_ids', 'dialogue_partitions', 'dress_dialogue_partition', 'wanted_dialogue_months',
        'make_dialogue_partition', 'make_default_dialogue_partition', 'ensure_dialogue_partition', 'admit_dialogue_writers'
      )
  LOOP
    EXECUTE format('ALTER %s %s OWNER TO ragledger_owner', ours.sort, ours.name);
  END LOOP;
END
$$;

COMMENT ON TABLE known_ids IS 'Every id of ai_dialogue_log once, where that is partitioned and no index can say so; empty while it is not';
COMMENT ON COLUMN known_ids.id IS 'Id of a dialogue; also of one whose month was archived, so that reading its record again does not bring it back';

COMMENT ON TABLE partition_conversions IS 'Conversions of ai_dialogue_log into monthly partitions, at most one of them open, and how far each has come';
COMMENT ON COLUMN partition_conversions.id IS 'Number of the conversion';
COMMENT ON COLUMN partition_conversions.phase IS 'The last step that is done, from which a conversion that was interrupted goes on';
COMMENT ON COLUMN partition_conversions.next_block IS 'Block of the old table to copy next';
COMMENT ON COLUMN partition_conversions.end_block IS 'Block at which copying ends: what comes later was copied as it was written';
COMMENT ON COLUMN partition_conversions.rows_copied IS 'Rows copied so far';
COMMENT ON COLUMN partition_conversions.started_at IS 'When it began';
COMMENT ON COLUMN partition_conversions.updated_at IS 'When it last came further';
COMMENT ON COLUMN partition_conversions.finished_at IS 'When it was done or aborted; NULL: it is under way';
COMMENT ON INDEX idx_partition_conversions_open IS 'One conversion at a time';

COMMENT ON TABLE partition_archives IS 'Months of ai_dialogue_log that were taken out of it; their days in rag_metrics_history stay as they are';
COMMENT ON COLUMN partition_archives.month IS 'First day of the month, UTC';
COMMENT ON COLUMN partition_archives.partition IS 'Table that held the month';
COMMENT ON COLUMN partition_archives.phase IS 'The last step that is done: detached, exported to a file that was read back, dropped';
COMMENT ON COLUMN partition_archives.row_count IS 'Rows in the file; NULL until it is written';
COMMENT ON COLUMN partition_archives.file IS 'Name of the file; NULL until it is written';
COMMENT ON COLUMN partition_archives.sha256 IS 'SHA-256 of the file, in hex; NULL until it is written';
COMMENT ON COLUMN partition_archives.detached_at IS 'When the month left ai_dialogue_log';
COMMENT ON COLUMN partition_archives.dropped_at IS 'When its table was dropped; NULL: not yet';

COMMENT ON FUNCTION keep_dialogue_id() IS 'Trigger function: keeps known_ids equal to the ids of a partitioned ai_dialogue_log';
COMMENT ON FUNCTION admit_dialogue_writers() IS 'Grants whoever may insert dialogues what they need where the table is partitioned';
COMMENT ON FUNCTION watch_dialogue_ids() IS 'Gives a partitioned ai_dialogue_log the triggers that keep known_ids';
COMMENT ON FUNCTION dialogue_partitions(regclass) IS 'Partitions of a table with the range of created_at that each holds, half-open, UTC';
COMMENT ON FUNCTION dress_dialogue_partition(regclass, regclass, text) IS 'Gives a new partition its parent''s owner and protection, a comment, and nobody a privilege';
COMMENT ON FUNCTION wanted_dialogue_months(integer) IS 'Months of ai_dialogue_log that should have a partition';
COMMENT ON FUNCTION make_dialogue_partition(date, bigint, regclass) IS 'Makes the partition of a month, with its rows from the default partition';
COMMENT ON FUNCTION make_default_dialogue_partition() IS 'Makes the default partition where there is none';
COMMENT ON FUNCTION ensure_dialogue_partition(integer, date, bigint) IS 'Makes the next partition of ai_dialogue_log that is missing, with the rights of the owner';

COMMIT;

-- The ids of rows that were in a partitioned table before the triggers. Nobody waits but who deletes such a row.
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass AND relkind = 'p') THEN
    INSERT INTO known_ids (id)
    SELECT dialogue.id
    FROM ai_dialogue_log AS dialogue
    WHERE NOT EXISTS (SELECT FROM known_ids AS kept WHERE kept.id = dialogue.id)
    FOR KEY SHARE OF dialogue
    ON CONFLICT DO NOTHING;
  END IF;
END
$$;
COMMIT;
