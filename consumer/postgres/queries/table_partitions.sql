-- Statements about the months of ai_dialogue_log: partition_archives and partition_conversions.


-- name: ensure_partition
-- Create the first missing partition after a month, with the month's rows from the default partition. Returns no month
-- if none is missing.
-- $1 months ahead  $2 after this month  $3 rows to move at most
SELECT month, partition, moved, waiting FROM ensure_dialogue_partition($1, $2, $3)


-- name: partition_archivable
-- Months to archive, oldest first: whole months before $1 that are partitions, and months whose archiving was
-- interrupted, with the checksum of the file that may exist for them. Also the current time, UTC.
-- $1 the first day of the first month that stays
SELECT begins_at::date AS month, partition::text AS partition, 'attached' AS phase, NULL AS sha256,
       now() AT TIME ZONE 'UTC' AS now
FROM dialogue_partitions('ai_dialogue_log')
WHERE NOT is_default AND ends_at <= $1::date
  AND begins_at = date_trunc('month', begins_at) AND ends_at = begins_at + interval '1 month'
UNION ALL
SELECT month, partition, phase, sha256, now() AT TIME ZONE 'UTC'
FROM partition_archives WHERE month < $1 AND phase IN ('detached', 'exported')
ORDER BY month


-- name: partition_archive_lock
-- Lock for archiving a month: nobody rolls a day up or creates partitions, and nobody uses the table.
-- {partition}
SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0));
SELECT pg_advisory_xact_lock(hashtextextended('ragledger partitions', 0));
LOCK TABLE ONLY ai_dialogue_log, {partition} IN ACCESS EXCLUSIVE MODE


-- name: partition_archive_state
-- The state of a month: attached if it is a partition, the phase of its archiving, 'expired' while retention removes it,
-- and 'in the way' for another table with this name. A table that an interrupted run has created has a known check
-- constraint and is not in the way.
-- $1 month  $2 name of its partition
SELECT 'attached' AS phase, partition::text AS partition
FROM dialogue_partitions('ai_dialogue_log')
WHERE NOT is_default AND begins_at < $1::date + interval '1 month' AND ends_at > $1::date
UNION ALL
SELECT phase, partition FROM partition_archives WHERE month = $1 AND (phase <> 'expired' OR dropped_at IS NULL)
UNION ALL
SELECT 'in the way', oid::regclass::text
FROM pg_class
WHERE oid = to_regclass($2) AND NOT relispartition
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = 'within_its_month')


-- name: partition_attach
-- Attach a table with the rows of a month as a partition, together with rows of the month that arrived meanwhile.
-- $1 month  $2 the table
SELECT moved FROM make_dialogue_partition($1, 9223372036854775806, $2::text::regclass)


-- name: partition_begin_conversion
-- Record that a conversion begins.
INSERT INTO partition_conversions (phase) VALUES ('made')


-- name: partition_bound
-- Add a constraint that the table holds only rows of its month. Without it, attaching would read the whole table under
-- a lock.
-- {partition}  {month}: YYYY-MM
ALTER TABLE {partition} DROP CONSTRAINT IF EXISTS within_its_month;
ALTER TABLE {partition} ADD CONSTRAINT within_its_month CHECK (
  created_at >= '{month}-01' AND created_at < timestamp '{month}-01' + interval '1 month'
)


-- name: partition_column_drift
-- Columns that differ between ai_dialogue_log and ai_dialogue_log_new: somebody changed one table during the
-- conversion.
SELECT DISTINCT attname::text AS name
FROM (
    SELECT attname, atttypid, atttypmod, attnotnull, count(*) AS tables
    FROM pg_attribute
    WHERE attrelid IN ('ai_dialogue_log'::regclass, 'ai_dialogue_log_new'::regclass) AND attnum > 0 AND NOT attisdropped
    GROUP BY attname, atttypid, atttypmod, attnotnull
) AS columns
WHERE tables <> 2


-- name: partition_compare
-- The old table and its copy in one snapshot: number of rows, a sum over the values of each column, and number of known
-- ids.
-- {columns}: the columns of the table
SELECT old.row_count AS old_rows, copy.row_count AS new_rows, old.content = copy.content AS same_content,
       (SELECT count(*) FROM known_ids) AS ids
FROM (
    SELECT count(*) AS row_count, coalesce(sum(hashtextextended(ROW({columns})::text, 0)::numeric), 0) AS content
    FROM ONLY ai_dialogue_log
) AS old
CROSS JOIN (
    SELECT count(*) AS row_count, coalesce(sum(hashtextextended(ROW({columns})::text, 0)::numeric), 0) AS content
    FROM ai_dialogue_log_new
) AS copy


-- name: partition_conversion
-- The running conversion, if there is one, locked so that no two processes can take the same step.
SELECT phase, next_block, end_block, rows_copied FROM partition_conversions WHERE finished_at IS NULL FOR UPDATE


-- name: partition_copy_ids
-- Store the ids of some blocks of the old table as known ids.
-- {first}, {end}: the first block and the one after the last
INSERT INTO known_ids (id)
SELECT id FROM ONLY ai_dialogue_log WHERE ctid >= '({first},0)' AND ctid < '({end},0)'
ON CONFLICT (id) DO NOTHING


-- name: partition_copy_rows
-- Copy the rows of some blocks of the old table. Rows that the mirror has already written are as new or newer, and
-- stay.
-- {columns}: the columns of the table  {first}, {end}: the first block and the one after the last
WITH copied AS (
    INSERT INTO ai_dialogue_log_new ({columns})
    SELECT {columns} FROM ONLY ai_dialogue_log WHERE ctid >= '({first},0)' AND ctid < '({end},0)'
    ON CONFLICT (id, created_at) DO NOTHING
    RETURNING 1
)
SELECT count(*) AS copied FROM copied


-- name: partition_copying
-- Take the lock that erasures wait for: an erasure does not search the copy before this transaction ends.
SELECT pg_advisory_xact_lock_shared(hashtextextended('ragledger copying', 0))


-- name: partition_daily_citations
-- The first daily query: citations.
-- $1, $2 the first and the last moment
SELECT
    avg(CASE WHEN citations IS NOT NULL AND jsonb_array_length(citations) > 0 THEN 100.0 ELSE 0.0 END) AS citation_rate,
    sum(CASE WHEN citations IS NOT NULL THEN jsonb_array_length(citations) ELSE 0 END) AS citation_count
FROM ai_dialogue_log
WHERE created_at BETWEEN $1 AND $2


-- name: partition_daily_latency
-- The second daily query: percentiles of the latency.
-- $1, $2 the first and the last moment
SELECT
    percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) AS p50,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) AS p95,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY latency_ms) AS p99
FROM ai_dialogue_log
WHERE created_at BETWEEN $1 AND $2 AND latency_ms IS NOT NULL


-- name: partition_daily_users
-- The third daily query: users.
-- $1, $2 the first and the last moment
SELECT count(DISTINCT user_id) AS unique_users FROM ai_dialogue_log WHERE created_at BETWEEN $1 AND $2


-- name: partition_days_without_history
-- Days that have rows in a partition but none in rag_metrics_history. Archiving would lose their figures.
-- {partition}  $1 business time zone
SELECT (created_at AT TIME ZONE 'UTC' AT TIME ZONE $1)::date AS day FROM {partition}
EXCEPT
SELECT date::date FROM rag_metrics_history
ORDER BY day


-- name: partition_definition
-- Everything that ai_dialogue_log has and a copy made with LIKE lacks, as statements for ai_dialogue_log_new, in the
-- order in which they run: owner, indexes, foreign keys, privileges, row-level security, comments.
WITH old AS (
    SELECT * FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
),
indexes AS (
    SELECT indexrelid, index.relname, pg_get_indexdef(indexrelid) AS definition
    FROM old JOIN pg_index ON indrelid = old.oid AND NOT indisprimary
    JOIN pg_class AS index ON index.oid = indexrelid
),
privileges AS (
    SELECT privilege_type, is_grantable, '' AS on_column,
           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee
    FROM old, aclexplode(relacl) AS acl WHERE acl.grantee <> relowner
    UNION ALL
    SELECT privilege_type, is_grantable, format(' (%I)', attname),
           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
    FROM old
    JOIN pg_attribute ON attrelid = old.oid AND NOT attisdropped  -- a dropped column keeps its grants
    CROSS JOIN aclexplode(attacl) AS acl
    WHERE acl.grantee <> relowner
)
SELECT statement
FROM (
    SELECT 1 AS place, format('ALTER TABLE ai_dialogue_log_new OWNER TO %I', pg_get_userbyid(relowner)) AS statement
    FROM old WHERE relowner <> current_user::regrole
    UNION ALL
    SELECT 2, format('CREATE %sINDEX %I ON ai_dialogue_log_new USING %s',
        CASE WHEN definition LIKE 'CREATE UNIQUE %' THEN 'UNIQUE ' ELSE '' END,
        relname || '_new', substring(definition FROM ' USING (.*)$'))
    FROM indexes
    UNION ALL
    SELECT 3, format('COMMENT ON INDEX %I IS %L', relname || '_new', description)
    FROM indexes JOIN pg_description ON objoid = indexrelid AND classoid = 'pg_class'::regclass
    UNION ALL
    SELECT 4, format('GRANT %s%s ON ai_dialogue_log_new TO %s%s',
        privilege_type, on_column, grantee, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM privileges
    UNION ALL
    SELECT 5, format('CREATE POLICY %I ON ai_dialogue_log_new AS %s FOR %s TO %s%s%s', policyname, permissive, cmd,
        (SELECT string_agg(CASE role WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(role) END, ', ') FROM unnest(roles) AS role),
        ' USING (' || qual || ')', ' WITH CHECK (' || with_check || ')')
    FROM old JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_policies ON schemaname = nspname AND tablename = relname
    UNION ALL
    SELECT 6, format('COMMENT ON POLICY %I ON ai_dialogue_log_new IS %L', polname, description)
    FROM old JOIN pg_policy AS policy ON polrelid = old.oid
    JOIN pg_description ON objoid = policy.oid AND classoid = 'pg_policy'::regclass
    UNION ALL
    SELECT 7, 'ALTER TABLE ai_dialogue_log_new ENABLE ROW LEVEL SECURITY' FROM old WHERE relrowsecurity
    UNION ALL
    SELECT 7, 'ALTER TABLE ai_dialogue_log_new FORCE ROW LEVEL SECURITY' FROM old WHERE relforcerowsecurity
    UNION ALL
    SELECT 7, format('COMMENT ON TABLE ai_dialogue_log_new IS %L', obj_description(oid, 'pg_class')) FROM old
) AS steps
ORDER BY place, statement


-- name: partition_describe
-- The contents of a partition, for its manifest, and whether our role can see all of it.
-- {partition}
SELECT count(*) AS rows, min(created_at)::text AS first, max(created_at)::text AS last,
       row_security_active('{partition}') AS hides_rows, current_setting('server_version') AS server_version
FROM {partition}


-- name: partition_foreign_keys
-- The foreign keys of ai_dialogue_log as statements for ai_dialogue_log_new. They run last, because they lock the
-- referenced tables.
SELECT statement
FROM (
    SELECT 1 AS place, format('ALTER TABLE ai_dialogue_log_new ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) AS statement
    FROM pg_constraint WHERE conrelid = 'ai_dialogue_log'::regclass AND contype = 'f'
    UNION ALL
    SELECT 2, format('COMMENT ON CONSTRAINT %I ON ai_dialogue_log_new IS %L', conname, description)
    FROM pg_constraint AS con
    JOIN pg_description ON objoid = con.oid AND classoid = 'pg_constraint'::regclass
    WHERE conrelid = 'ai_dialogue_log'::regclass AND contype = 'f'
) AS steps
ORDER BY place, statement


-- name: partition_forget_archive
-- Record that a month is restored. Its days count again and are marked, so that they are computed again. The roll-up
-- skips a day that also belongs to another, still archived month.
-- $1 month  $2 business time zone
WITH back AS (
    DELETE FROM partition_archives WHERE month = $1
)
INSERT INTO touched_days (day)
SELECT generate_series(
    ($1::date::timestamp AT TIME ZONE 'UTC' AT TIME ZONE $2)::date,
    (($1::date + interval '1 month' - interval '1 microsecond') AT TIME ZONE 'UTC' AT TIME ZONE $2)::date,
    interval '1 day'
)::date


-- name: partition_hold_copies
-- Lock for dropping a table with dialogues that is no partition: no erasure is searching it.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger copies', 0))


-- name: partition_list
-- The partitions of ai_dialogue_log in order, the default one last, with their rows by the planner's statistics.
SELECT partition::text AS partition, is_default,
       CASE WHEN isfinite(begins_at) THEN begins_at END AS begins_at,
       CASE WHEN isfinite(ends_at) THEN ends_at END AS ends_at,
       greatest(reltuples, 0)::bigint AS rows, pg_total_relation_size(pg_class.oid) AS bytes
FROM dialogue_partitions('ai_dialogue_log')
JOIN pg_class ON pg_class.oid = partition
ORDER BY is_default, begins_at


-- name: partition_lock_holders
-- Sessions that hold a lock on ai_dialogue_log, longest first.
SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS program, round(extract(epoch FROM now() - xact_start))::int AS seconds
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation = to_regclass('ai_dialogue_log') AND pid <> pg_backend_pid()
ORDER BY xact_start
LIMIT 5


-- name: partition_make_partitions
-- The partitions of ai_dialogue_log_new as statements: the default one with the old table's storage settings, then one
-- for each month.
-- $1 months, each by its first day
WITH months AS (
    SELECT month, 'ai_dialogue_log_' || to_char(month, 'YYYY_MM') AS name FROM unnest($1::date[]) AS month
),
old AS (
    SELECT ' WITH (' || array_to_string(reloptions, ', ') || ')' AS options FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
)
SELECT statement
FROM (
    SELECT 1 AS place, format('CREATE TABLE ai_dialogue_log_default PARTITION OF ai_dialogue_log_new DEFAULT%s', options) AS statement
    FROM old
    UNION ALL
    SELECT 2, 'SELECT dress_dialogue_partition(''ai_dialogue_log_default'', ''ai_dialogue_log_new'', ''no month that has a partition'')'
    UNION ALL
    SELECT 3, format('CREATE TABLE %I PARTITION OF ai_dialogue_log_new FOR VALUES FROM (%L) TO (%L)', name, month, month + interval '1 month')
    FROM months
    UNION ALL
    SELECT 4, format('SELECT dress_dialogue_partition(%L, ''ai_dialogue_log_new'', %L)', name, to_char(month, 'YYYY-MM'))
    FROM months
) AS steps
ORDER BY place, statement


-- name: partition_make_table
-- Create the partitioned table that replaces ai_dialogue_log, still empty and under another name, and the list of rows
-- deleted while rows are copied. Known ids of an aborted conversion are deleted.
CREATE TABLE ai_dialogue_log_new (LIKE ai_dialogue_log INCLUDING ALL EXCLUDING INDEXES)
PARTITION BY RANGE (created_at);
ALTER TABLE ai_dialogue_log_new ADD CONSTRAINT ai_dialogue_log_new_pkey PRIMARY KEY (id, created_at);
CREATE TABLE ai_dialogue_log_deleted (id UUID NOT NULL, created_at TIMESTAMP NOT NULL);
COMMENT ON TABLE ai_dialogue_log_deleted IS 'Dialogues deleted during a conversion into partitions; goes with its end';
COMMENT ON COLUMN ai_dialogue_log_deleted.id IS 'Id of the dialogue';
COMMENT ON COLUMN ai_dialogue_log_deleted.created_at IS 'When the dialogue took place, UTC';
TRUNCATE known_ids;


-- name: partition_mirror_functions
-- Functions that repeat every write to ai_dialogue_log on ai_dialogue_log_new, in the same transaction. A delete cannot
-- see, and so cannot delete, a row that is being copied. Deleted rows are therefore listed, and checked again after
-- copying.
-- {columns}: the columns of the table  {changes}: each of them taken over from the row that could not be inserted
CREATE OR REPLACE FUNCTION mirror_ai_dialogue_log_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO known_ids (id) SELECT id FROM written ON CONFLICT (id) DO NOTHING;
  INSERT INTO ai_dialogue_log_new ({columns}) SELECT {columns} FROM written
  ON CONFLICT (id, created_at) DO UPDATE SET {changes};
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION mirror_ai_dialogue_log_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO ai_dialogue_log_deleted (id, created_at) SELECT id, created_at FROM gone;
  DELETE FROM ai_dialogue_log_new AS copy USING gone WHERE copy.id = gone.id AND copy.created_at = gone.created_at;
  DELETE FROM known_ids AS kept USING gone WHERE kept.id = gone.id;
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION mirror_ai_dialogue_log_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO ai_dialogue_log_deleted (id, created_at)
  SELECT id, created_at FROM gone EXCEPT SELECT id, created_at FROM written;
  DELETE FROM ai_dialogue_log_new AS copy
  USING (SELECT id, created_at FROM gone EXCEPT SELECT id, created_at FROM written) AS moved
  WHERE copy.id = moved.id AND copy.created_at = moved.created_at;
  DELETE FROM known_ids AS kept
  USING (SELECT id FROM gone EXCEPT SELECT id FROM written) AS renamed
  WHERE kept.id = renamed.id;
  INSERT INTO known_ids (id) SELECT id FROM written ON CONFLICT (id) DO NOTHING;
  INSERT INTO ai_dialogue_log_new ({columns}) SELECT {columns} FROM written
  ON CONFLICT (id, created_at) DO UPDATE SET {changes};
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION mirror_ai_dialogue_log_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  TRUNCATE ai_dialogue_log_new, known_ids, ai_dialogue_log_deleted;
  RETURN NULL;
END
$$


-- name: partition_mirror_triggers
-- Create the triggers of the mirror. When this lock is granted, every transaction that wrote before has ended, and its
-- rows are below the block at which copying ends.
CREATE TRIGGER mirror_ai_dialogue_log_insert AFTER INSERT ON ai_dialogue_log
  REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION mirror_ai_dialogue_log_insert();
CREATE TRIGGER mirror_ai_dialogue_log_update AFTER UPDATE ON ai_dialogue_log
  REFERENCING OLD TABLE AS gone NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION mirror_ai_dialogue_log_update();
CREATE TRIGGER mirror_ai_dialogue_log_delete AFTER DELETE ON ai_dialogue_log
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION mirror_ai_dialogue_log_delete();
CREATE TRIGGER mirror_ai_dialogue_log_truncate AFTER TRUNCATE ON ai_dialogue_log
  FOR EACH STATEMENT EXECUTE FUNCTION mirror_ai_dialogue_log_truncate();
UPDATE partition_conversions
SET phase = 'mirrored', updated_at = now(),
    end_block = pg_relation_size('ai_dialogue_log') / current_setting('block_size')::integer
WHERE finished_at IS NULL


-- name: partition_months
-- The months in which ai_dialogue_log has rows, found one after the other in the index on created_at, and the months
-- ahead. Months more than ten years ago, and months further ahead, are left out, so that a wrong clock cannot multiply
-- partitions.
-- $1 months ahead
WITH RECURSIVE span AS (
    SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AS this_month
),
found AS (
    SELECT (SELECT min(created_at) FROM ai_dialogue_log WHERE created_at >= this_month - interval '10 years') AS moment, this_month
    FROM span
    UNION ALL
    SELECT (
        SELECT min(created_at) FROM ai_dialogue_log
        WHERE created_at >= date_trunc('month', found.moment) + interval '1 month'
    ), this_month
    FROM found WHERE found.moment < this_month
)
SELECT date_trunc('month', moment)::date AS month FROM found WHERE moment < this_month
UNION
SELECT generate_series(this_month, this_month + make_interval(months => $1), interval '1 month')::date FROM span
ORDER BY month


-- name: partition_newest_moment
-- The time of the newest dialogue that is not dated in the future. NULL if there is none.
SELECT max(created_at) AS newest
FROM ai_dialogue_log
WHERE created_at > '-infinity' AND created_at <= now() AT TIME ZONE 'UTC'


-- name: partition_note_copied
-- Record the progress of copying.
-- $1 the next block  $2 rows copied
UPDATE partition_conversions
SET next_block = $1, rows_copied = rows_copied + $2, updated_at = now()
WHERE finished_at IS NULL


-- name: partition_note_detached
-- Record that a month is detached from the table. Its buckets, which name users, are deleted.
-- $1 month  $2 partition
WITH dropped AS (
    DELETE FROM rollup_buckets
    WHERE begins_at > $1::date - interval '2 days' AND begins_at < $1::date + interval '1 month' AND ends_at > $1::date
)
INSERT INTO partition_archives (month, partition, phase) VALUES ($1, $2, 'detached')


-- name: partition_note_directory
-- Record the directory of the file of a month before anything is written there, so that an erasure finds what a killed
-- run leaves there.
-- $1 month  $2 directory
UPDATE partition_archives SET directory = $2 WHERE month = $1


-- name: partition_note_dropped
-- Record that the table of an archived month is dropped.
-- $1 month
UPDATE partition_archives SET phase = 'dropped', dropped_at = now() WHERE month = $1


-- name: partition_note_exported
-- Record that a month is in a file that was read back.
-- $1 month
UPDATE partition_archives SET phase = 'exported' WHERE month = $1


-- name: partition_note_file
-- Record the file of a month before it is written. A file that an interrupted run left there is then known to be ours.
-- $1 month  $2 rows  $3 file  $4 SHA-256  $5 directory
UPDATE partition_archives SET row_count = $2, file = $3, sha256 = $4, directory = $5 WHERE month = $1


-- name: partition_note_phase
-- Record that a step is done.
-- $1 its name
UPDATE partition_conversions
SET phase = $1, updated_at = now(), finished_at = CASE WHEN $1 IN ('done', 'aborted') THEN now() END
WHERE finished_at IS NULL


-- name: partition_obstacles
-- Obstacles to converting ai_dialogue_log, one sentence for each row.
WITH old AS (
    SELECT oid, relowner, reltype, relreplident FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
)
SELECT format('%I does not own it: run this as %I', current_user, pg_get_userbyid(relowner)) AS obstacle
FROM old WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT format('row-level security hides rows from %I, even as its owner: run this as a role with BYPASSRLS', current_user)
FROM old WHERE row_security_active(oid)
UNION ALL
SELECT 'it is distributed over a Citus cluster, and months have to be there before: docs/scaling.md says how to take the'
    ' distribution back; then convert it, and run `ragledger distribute apply` again'
FROM old JOIN pg_trigger ON tgrelid = old.oid JOIN pg_proc ON pg_proc.oid = tgfoid
WHERE proname = 'citus_truncate_trigger'
UNION ALL
SELECT 'its primary key must be (id) and nothing else'
FROM old WHERE NOT EXISTS (
    SELECT FROM pg_constraint
    WHERE conrelid = old.oid AND contype = 'p'
      AND pg_get_constraintdef(pg_constraint.oid) = 'PRIMARY KEY (id)'
)
UNION ALL
SELECT 'created_at must be a TIMESTAMP without time zone, NOT NULL'
FROM old WHERE NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = old.oid AND attname = 'created_at' AND atttypid = 'timestamp'::regtype AND attnotnull
)
UNION ALL
SELECT format('%s refers to it (%I): no foreign key can refer to an id of a partitioned table; drop it', conrelid::regclass, conname)
FROM old JOIN pg_constraint ON confrelid = old.oid AND contype = 'f'
UNION ALL
SELECT format('%I is not validated: ALTER TABLE ai_dialogue_log VALIDATE CONSTRAINT %1$I', conname)
FROM old JOIN pg_constraint ON conrelid = old.oid AND contype IN ('c', 'f') AND NOT convalidated
UNION ALL
SELECT format('%I cannot be kept across partitions: drop the constraint', conname)
FROM old JOIN pg_constraint ON conrelid = old.oid AND (contype = 'x' OR connoinherit AND contype = 'c')
UNION ALL
SELECT format('%s cannot be unique across partitions without created_at: drop it', indexrelid::regclass)
FROM old JOIN pg_index ON indrelid = old.oid
WHERE indisunique AND NOT indisprimary AND NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = old.oid AND attname = 'created_at' AND attnum = ANY (indkey)
)
UNION ALL
SELECT format('%s is invalid, its build did not finish: drop it, or run `ragledger migrate up`', indexrelid::regclass)
FROM old JOIN pg_index ON indrelid = old.oid WHERE NOT indisvalid
UNION ALL
SELECT format('column %I is an identity column, which partitions of PostgreSQL before 17 cannot have', attname)
FROM old JOIN pg_attribute ON attrelid = old.oid AND attidentity <> ''
UNION ALL
SELECT format('%s inherits from it, or it from that', CASE inhparent WHEN old.oid THEN inhrelid ELSE inhparent END::regclass)
FROM old JOIN pg_inherits ON old.oid IN (inhparent, inhrelid)
UNION ALL
SELECT format('publication %I has it: subscribers would not know the partitions; take it out and put it back afterwards', pubname)
FROM old JOIN pg_publication ON EXISTS (
    SELECT FROM pg_get_publication_tables(pubname) AS published WHERE published.relid = old.oid
)
UNION ALL
SELECT 'its replica identity is not its primary key: ALTER TABLE ai_dialogue_log REPLICA IDENTITY DEFAULT'
FROM old WHERE relreplident <> 'd'
UNION ALL
SELECT format('trigger %I is one that a partitioned table cannot have', tgname)
FROM old JOIN pg_trigger ON tgrelid = old.oid AND NOT tgisinternal
WHERE tgname NOT LIKE 'mirror_ai_dialogue_log_%'
  AND tgtype & 1 = 1 AND (tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL)
UNION ALL
SELECT format('rule %I: a partitioned table is read and written without it', rulename)
FROM old JOIN pg_rewrite ON ev_class = old.oid
UNION ALL
SELECT format('view %s belongs to %I, and has to be made again: run this as a role that is both', view.oid::regclass, pg_get_userbyid(view.relowner))
FROM old
JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = old.oid AND classid = 'pg_rewrite'::regclass
JOIN pg_rewrite AS rule ON rule.oid = objid
JOIN pg_class AS view ON view.oid = ev_class AND view.relkind = 'v'
WHERE NOT pg_has_role(view.relowner, 'USAGE')
GROUP BY view.oid, view.relowner
UNION ALL
SELECT format('%s rests on it: drop it, and make it again afterwards', pg_describe_object(classid, objid, 0))
FROM old
JOIN pg_type AS row_type ON row_type.oid = old.reltype
JOIN pg_depend ON deptype = 'n' AND (
    refclassid = 'pg_class'::regclass AND refobjid = old.oid
    OR refclassid = 'pg_type'::regclass AND refobjid IN (row_type.oid, row_type.typarray)
)
WHERE classid NOT IN ('pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass)
  AND NOT (refclassid = 'pg_class'::regclass AND EXISTS (
    SELECT FROM pg_rewrite AS rule JOIN pg_class AS view ON view.oid = ev_class AND view.relkind = 'v'
    WHERE classid = 'pg_rewrite'::regclass AND rule.oid = objid
  ))
GROUP BY classid, objid


-- name: partition_restore_lock
-- Lock for restoring a month: nobody rolls a day up or creates partitions meanwhile.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0));
SELECT pg_advisory_xact_lock(hashtextextended('ragledger partitions', 0))


-- name: partition_restore_table
-- Create a table for the rows of an archived month.
-- {partition}  {month}: YYYY-MM
CREATE TABLE {partition} (LIKE ai_dialogue_log INCLUDING ALL);
SELECT dress_dialogue_partition('{partition}', 'ai_dialogue_log', '{month}')


-- name: partition_restored_twice
-- The number of restored ids that ai_dialogue_log has as well.
-- {partition}
SELECT count(*) AS doubled FROM {partition} JOIN ai_dialogue_log USING (id)


-- name: partition_screen
-- Delete the dialogues of users from a table that is not a partition, with their known ids, kept verdicts and costs.
-- Returns the number.
-- {table}  $1 users
WITH gone AS (
    DELETE FROM {table} WHERE user_id = ANY ($1::uuid[]) RETURNING id
),
forgotten AS (
    DELETE FROM known_ids USING gone WHERE known_ids.id = gone.id
),
unsaid AS (
    DELETE FROM kept_feedback USING gone WHERE dialogue_id = gone.id
),
unpriced AS (
    DELETE FROM dialogue_costs USING gone WHERE dialogue_costs.dialogue_id = gone.id
)
SELECT count(*) AS rows FROM gone


-- name: partition_search_path
-- Limit this transaction's search path to the schema of ai_dialogue_log.
SELECT set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = to_regclass('ai_dialogue_log')


-- name: partition_settle
-- Delete from the copy the rows that were deleted while they were being copied, unless they have been inserted again.
WITH settled AS (
    DELETE FROM ai_dialogue_log_deleted RETURNING id, created_at
),
copies AS (
    DELETE FROM ai_dialogue_log_new AS copy
    USING settled
    WHERE copy.id = settled.id AND copy.created_at = settled.created_at
      AND NOT EXISTS (
        SELECT FROM ONLY ai_dialogue_log AS old WHERE old.id = settled.id AND old.created_at = settled.created_at
      )
)
DELETE FROM known_ids AS kept
USING settled
WHERE kept.id = settled.id AND NOT EXISTS (SELECT FROM ONLY ai_dialogue_log AS old WHERE old.id = settled.id)


-- name: partition_shape
-- The kind of ai_dialogue_log: r for a table, p for a partitioned table, no row if it is missing. Also its columns,
-- quoted, without computed ones, with their types, and whether everything that partitioning needs is installed
-- (migration 0011).
SELECT
    relkind::text AS kind,
    to_regclass('known_ids') IS NOT NULL AS prepared,
    columns,
    types
FROM pg_class, LATERAL (
    SELECT array_agg(quote_ident(attname) ORDER BY attnum) AS columns,
           array_agg(format_type(atttypid, atttypmod) ORDER BY attnum) AS types
    FROM pg_attribute
    WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
) AS present
WHERE oid = to_regclass('ai_dialogue_log')


-- name: partition_size
-- The size of ai_dialogue_log with indexes and long values, and its number of rows by the planner's statistics. It
-- never counts.
SELECT sum(pg_total_relation_size(oid))::bigint AS bytes, sum(greatest(reltuples, 0))::bigint AS rows
FROM pg_class
WHERE oid IN (
    SELECT 'ai_dialogue_log'::regclass UNION ALL SELECT relid FROM pg_partition_tree('ai_dialogue_log') WHERE isleaf
)


-- name: partition_statements
-- Queries on ai_dialogue_log in pg_stat_statements, without our own, which begin with a comment. Times are in
-- milliseconds.
SELECT calls::bigint AS calls, mean_exec_time AS mean, stddev_exec_time AS deviation, max_exec_time AS longest
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND query ~* '^\s*(select|with)\y' AND query ~* '\yai_dialogue_log\y'


-- name: partition_switch
-- Statements that put ai_dialogue_log_new in the place of ai_dialogue_log, in the order in which they run: names of
-- tables and indexes, the old table's own triggers, and views, which would otherwise still read the old table.
WITH old AS (
    SELECT * FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
),
indexes AS (
    SELECT index.relname, indisprimary FROM old JOIN pg_index ON indrelid = old.oid JOIN pg_class AS index ON index.oid = indexrelid
),
triggers AS (
    SELECT trigger.oid, tgname, tgenabled, pg_get_triggerdef(trigger.oid) AS definition
    FROM old JOIN pg_trigger AS trigger ON tgrelid = old.oid AND NOT tgisinternal
),
views AS (
    SELECT DISTINCT view.oid, 'WITH (' || array_to_string(view.reloptions, ', ') || ')' AS options
    FROM old
    JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = old.oid AND classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite AS rule ON rule.oid = objid
    JOIN pg_class AS view ON view.oid = ev_class AND view.relkind = 'v'
)
SELECT statement
FROM (
    SELECT 1 AS place, 'ALTER TABLE ai_dialogue_log RENAME TO ai_dialogue_log_before' AS statement
    UNION ALL
    SELECT 2, 'ALTER TABLE ai_dialogue_log_new RENAME TO ai_dialogue_log'
    UNION ALL
    SELECT 3, format('ALTER INDEX %I RENAME TO %I', relname, relname || '_before') FROM indexes
    UNION ALL
    SELECT 4, format('ALTER INDEX %I RENAME TO %I',
        CASE WHEN indisprimary THEN 'ai_dialogue_log_new_pkey' ELSE relname || '_new' END, relname)
    FROM indexes
    UNION ALL
    SELECT 5, definition FROM triggers
    UNION ALL
    SELECT 6, format('ALTER TABLE ai_dialogue_log %s TRIGGER %I',
        CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname)
    FROM triggers WHERE tgenabled <> 'O'
    UNION ALL
    SELECT 7, format('COMMENT ON TRIGGER %I ON ai_dialogue_log IS %L', tgname, description)
    FROM triggers JOIN pg_description ON objoid = triggers.oid AND classoid = 'pg_trigger'::regclass
    UNION ALL
    SELECT 8, 'SELECT watch_dialogue_ids()'
    UNION ALL
    SELECT 9, format('CREATE OR REPLACE VIEW %s %s AS %s', oid::regclass, options, pg_get_viewdef(oid)) FROM views
) AS steps
ORDER BY place, statement


-- name: partition_touched_days
-- Marked days of a month. They have to be rolled up before their rows leave the table.
-- $1 month  $2 business time zone
SELECT DISTINCT day
FROM touched_days
WHERE day BETWEEN ($1::date::timestamp AT TIME ZONE 'UTC' AT TIME ZONE $2)::date
  AND (($1::date + interval '1 month' - interval '1 microsecond') AT TIME ZONE 'UTC' AT TIME ZONE $2)::date
ORDER BY day


-- name: partition_undress_mirror
-- Statements that revoke the right to call the functions of the mirror. The functions run with the rights of the owner,
-- and PostgreSQL allows everybody to call a new function. With this right, anybody could attach a function to a table
-- of their own, and so write any dialogue into the copy or delete it there.
SELECT DISTINCT format('REVOKE ALL ON FUNCTION %s FROM %s', pg_proc.oid::regprocedure,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) AS statement
FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
WHERE pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass)
  AND proname LIKE 'mirror\_ai\_dialogue\_log\_%' AND grantee <> proowner


-- name: partition_undress_tables
-- Statements that revoke the rights that default privileges have granted on the tables of a conversion. The copy must
-- have only the privileges of ai_dialogue_log, and nobody needs the list of deletions.
SELECT DISTINCT format('REVOKE ALL ON %I FROM %s', relname,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) AS statement
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid IN ('ai_dialogue_log_new'::regclass, 'ai_dialogue_log_deleted'::regclass) AND grantee <> relowner


-- name: partition_unmirror
-- Remove the mirror from ai_dialogue_log.
DROP TRIGGER IF EXISTS mirror_ai_dialogue_log_insert ON ai_dialogue_log;
DROP TRIGGER IF EXISTS mirror_ai_dialogue_log_update ON ai_dialogue_log;
DROP TRIGGER IF EXISTS mirror_ai_dialogue_log_delete ON ai_dialogue_log;
DROP TRIGGER IF EXISTS mirror_ai_dialogue_log_truncate ON ai_dialogue_log;
DROP FUNCTION IF EXISTS mirror_ai_dialogue_log_insert();
DROP FUNCTION IF EXISTS mirror_ai_dialogue_log_update();
DROP FUNCTION IF EXISTS mirror_ai_dialogue_log_delete();
DROP FUNCTION IF EXISTS mirror_ai_dialogue_log_truncate();
DROP TABLE IF EXISTS ai_dialogue_log_deleted


-- name: partition_users
-- The users who have dialogues in a table.
-- {table}
SELECT DISTINCT user_id FROM {table}


-- name: partition_volume
-- The busiest of the newest thirty days that were rolled up. No row if no day was.
SELECT total_dialogues AS rows_a_day, date::date AS day
FROM rag_metrics_history
WHERE date > (SELECT max(date) FROM rag_metrics_history) - interval '30 days'
ORDER BY total_dialogues DESC, date DESC
LIMIT 1


-- name: partition_volume_estimate
-- Rows a day by the planner's statistics: the middle nine tenths of the rows over the days they span, so that a wrong
-- clock has no effect. Without statistics of created_at: all rows over the days from the first to the last. NULL if
-- nothing is known.
WITH known AS (
    SELECT sum(reltuples) FILTER (WHERE reltuples >= 0) AS estimated_rows
    FROM pg_class
    WHERE oid IN (
        SELECT 'ai_dialogue_log'::regclass UNION ALL SELECT relid FROM pg_partition_tree('ai_dialogue_log') WHERE isleaf
    ) AND relkind = 'r'
),
bounds AS (
    SELECT histogram_bounds::text::timestamp[] AS moments
    FROM pg_stats
    WHERE schemaname = (
        SELECT nspname FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid
        WHERE pg_class.oid = 'ai_dialogue_log'::regclass
      )
      AND tablename = 'ai_dialogue_log' AND attname = 'created_at' AND histogram_bounds IS NOT NULL
    ORDER BY inherited DESC
    LIMIT 1
),
span AS (
    SELECT 0.9 AS share, moments[1 + cardinality(moments) / 20] AS first,
           moments[cardinality(moments) - cardinality(moments) / 20] AS last
    FROM bounds
    UNION ALL
    SELECT 1, min(created_at), max(created_at)
    FROM ai_dialogue_log
    WHERE created_at > '-infinity' AND created_at < 'infinity' AND NOT EXISTS (SELECT FROM bounds)
)
SELECT round(estimated_rows::numeric * share / greatest(extract(epoch FROM last - first) / 86400, 1))::bigint AS rows_a_day
FROM known, span
WHERE estimated_rows IS NOT NULL AND last IS NOT NULL
