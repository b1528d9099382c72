-- Statements about the distribution of ai_dialogue_log over the workers of a Citus cluster. The tables and functions of
-- Citus exist only where the extension does, so statements that name them run only there.


-- name: distributed_tables
-- The named tables that Citus manages, on any PostgreSQL: Citus gives each of them a trigger of its own.
-- $1 tables
SELECT named.name
FROM unnest($1::text[]) AS named (name)
WHERE EXISTS (
    SELECT FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE tgrelid = to_regclass(named.name) AND proname = 'citus_truncate_trigger'
)


-- name: distribution_server
-- Citus on this server: the version of the extension in this database, or NULL; whether it could be created. Also whether
-- our tables are there, and the function that 0024 has changed.
SELECT
    (SELECT extversion FROM pg_extension WHERE extname = 'citus') AS version,
    EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citus') AS is_available,
    to_regclass('ai_dialogue_log') IS NOT NULL AND EXISTS (
        SELECT FROM pg_proc
        WHERE oid = to_regprocedure('make_dialogue_partition(date, bigint, regclass)') AND prosrc LIKE '%citus%'
    ) AS is_migrated


-- name: distribution_state
-- How Citus holds the named tables. Kind: distributed, reference or local. The key is NULL unless it is distributed.
-- $1 tables
SELECT
    named.name,
    CASE WHEN partmethod <> 'n' THEN 'distributed' WHEN repmodel = 't' THEN 'reference' ELSE 'local' END AS kind,
    CASE WHEN partmethod <> 'n' THEN column_to_column_name(logicalrelid, partkey) END AS key,
    (SELECT count(*) FROM pg_dist_shard AS shard WHERE shard.logicalrelid = held.logicalrelid) AS shards
FROM unnest($1::text[]) AS named (name)
JOIN pg_dist_partition AS held ON held.logicalrelid = to_regclass(named.name)


-- name: distribution_nodes
-- The nodes of the cluster, as host:port, and whether this server is the coordinator.
SELECT
    format('%s:%s', nodename, nodeport) AS name,
    isactive AS is_active,
    shouldhaveshards AS has_shards,
    (SELECT groupid FROM pg_dist_local_group) = 0 AS is_here
FROM pg_dist_node
WHERE noderole = 'primary'
ORDER BY groupid, nodename, nodeport


-- name: distribution_prepares
-- Each worker's answer to the question how many prepared transactions it allows; the error if it does not answer.
SELECT format('%s:%s', nodename, nodeport) AS name, success AS answers, result
FROM run_command_on_workers('SHOW max_prepared_transactions')


-- name: distribution_foreign_keys
-- The foreign keys of ai_dialogue_log: the table that each refers to, and whether every worker has that table already.
-- Also statements that drop the key, and that add it and its comment again. If the key is there when Citus copies the
-- other table to the workers, Citus creates ai_dialogue_log again and loses its comments.
SELECT
    confrelid::regclass::text AS table_name,
    EXISTS (
        SELECT FROM pg_dist_partition WHERE logicalrelid = confrelid AND partmethod = 'n' AND repmodel = 't'
    ) AS is_everywhere,
    format('ALTER TABLE ai_dialogue_log DROP CONSTRAINT %I', conname) AS away,
    format('ALTER TABLE ai_dialogue_log ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) AS back,
    format('COMMENT ON CONSTRAINT %I ON ai_dialogue_log IS %L', conname, obj_description(oid, 'pg_constraint')) AS comment
FROM pg_constraint
WHERE conrelid = 'ai_dialogue_log'::regclass AND contype = 'f' AND conparentid = 0
ORDER BY conname


-- name: distribution_keys_of_provenance
-- Foreign keys of provenance that would make it a table of Citus: they refer to a table that every worker has, or that
-- ai_dialogue_log refers to.
SELECT conname::text AS name, confrelid::regclass::text AS table_name
FROM pg_constraint
WHERE conrelid = 'provenance'::regclass AND contype = 'f' AND (
    confrelid IN (SELECT logicalrelid FROM pg_dist_partition)
    OR confrelid IN (
        SELECT confrelid FROM pg_constraint WHERE conrelid = 'ai_dialogue_log'::regclass AND contype = 'f'
    )
)
ORDER BY name


-- name: distribution_obstacles
-- Obstacles to distributing ai_dialogue_log, one sentence for each row, found in the catalog of any PostgreSQL.
-- $1 the key: id or user_id
WITH old AS (
    SELECT oid, relowner, relkind FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
),
primary_key AS (
    SELECT pg_get_constraintdef(pg_constraint.oid) AS definition
    FROM old JOIN pg_constraint ON conrelid = old.oid AND contype = 'p'
)
SELECT format('%I does not own ai_dialogue_log: run this as %I', current_user, pg_get_userbyid(relowner)) AS obstacle
FROM old WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT format('row-level security hides rows from %I, even as the owner: run this as a role with BYPASSRLS', current_user)
FROM old WHERE row_security_active(oid)
UNION ALL
SELECT 'a conversion into monthly partitions is not finished: run `ragledger partition convert`, or undo it with --abort'
WHERE EXISTS (SELECT FROM partition_conversions WHERE finished_at IS NULL)
UNION ALL
SELECT format('the primary key must be %s', CASE relkind WHEN 'p' THEN '(id, created_at)' ELSE '(id)' END)
FROM old WHERE NOT EXISTS (
    SELECT FROM primary_key
    WHERE definition = CASE old.relkind WHEN 'p' THEN 'PRIMARY KEY (id, created_at)' ELSE 'PRIMARY KEY (id)' END
)
UNION ALL
SELECT 'traces have become dialogues, and Citus does not change the user of a row: distribute by id'
WHERE $1 = 'user_id' AND EXISTS (SELECT FROM dialogue_traces UNION ALL SELECT FROM staged_spans)
UNION ALL
SELECT format('%s is unique and does not contain %s, so no worker can keep it unique: drop it', indexrelid::regclass, $1::text)
FROM old JOIN pg_index ON indrelid = old.oid
WHERE indisunique AND NOT indisprimary AND NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = old.oid AND attname = $1 AND attnum = ANY (indkey)
)
UNION ALL
SELECT format('%I excludes rows, which no worker can check against those of the others: drop the constraint', conname)
FROM old JOIN pg_constraint ON conrelid = old.oid AND contype = 'x'
UNION ALL
SELECT format('%s refers to it (%I): a table outside of the workers cannot refer to a distributed one; drop the constraint',
    conrelid::regclass, conname)
FROM old JOIN pg_constraint ON confrelid = old.oid AND contype = 'f'
UNION ALL
SELECT format('policy %I has a subquery, which no policy of a distributed table may have: write it without, or drop it', polname)
FROM old JOIN pg_policy ON polrelid = old.oid
WHERE concat(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) ~ '\ySELECT\y'
  AND NOT (
    polname = 'ai_dialogue_user_isolation'
    AND pg_get_expr(polqual, polrelid) LIKE '(user_id = ( SELECT ("substring"(current_setting(''app.current_user_id''::text, true),%'
  )
UNION ALL
SELECT format('trigger %I is not one of ragledger: on a worker, it would find none of the tables that are not distributed; drop it', tgname)
FROM old JOIN pg_trigger ON tgrelid = old.oid
WHERE NOT tgisinternal AND tgname NOT LIKE 'keep\_dialogue\_id\_on\_%'
  AND tgname NOT IN ('mark_days_of_deleted_dialogues', 'update_ai_dialogue_log_updated_at_base')
UNION ALL
SELECT format('rule %I: a distributed table can have none; drop it', rulename)
FROM old JOIN pg_rewrite ON ev_class = old.oid
UNION ALL
SELECT format('%s inherits from it, or it from that', CASE inhparent WHEN old.oid THEN inhrelid ELSE inhparent END::regclass)
FROM old JOIN pg_inherits ON relkind = 'r' AND old.oid IN (inhparent, inhrelid)


-- name: distribution_services
-- The number of sessions of `ragledger run`, or of a pooler for it, on this database.
SELECT count(*) AS sessions
FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'ragledger' AND pid <> pg_backend_pid()


-- name: distribution_size
-- The rows of ai_dialogue_log by the planner's statistics, and its size with indexes, before it is distributed.
SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint AS rows, sum(pg_total_relation_size(oid))::bigint AS bytes,
       bool_or(relkind = 'p') AS is_partitioned
FROM pg_class
WHERE oid IN (
    SELECT 'ai_dialogue_log'::regclass UNION ALL SELECT relid FROM pg_partition_tree('ai_dialogue_log') WHERE isleaf
)


-- name: distribution_lock
-- Lock for distributing the table: nobody rolls a day up, creates partitions or erases, and nobody uses the table.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0));
SELECT pg_advisory_xact_lock(hashtextextended('ragledger partitions', 0));
SELECT pg_advisory_xact_lock(hashtextextended('ragledger copies', 0));
LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE


-- name: distribution_count
-- The number of dialogues, counted.
SELECT count(*) AS rows FROM ai_dialogue_log


-- name: distribution_policy
-- The policy of readers without its subquery, which Citus refuses. A worker evaluates it once for each statement.
DROP POLICY IF EXISTS ai_dialogue_user_isolation ON ai_dialogue_log;
CREATE POLICY ai_dialogue_user_isolation ON ai_dialogue_log FOR SELECT USING (
  user_id = substring(current_setting('app.current_user_id', true) FROM '^(?:[0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}$')::uuid
);
COMMENT ON POLICY ai_dialogue_user_isolation ON ai_dialogue_log IS
  'Users see their own dialogues: app.current_user_id says who the user is'


-- name: distribution_reference
-- Put a copy of a table on every worker, for foreign keys that refer to it.
-- $1 table
SELECT create_reference_table($1::text::regclass)


-- name: distribution_triggers
-- Remove the triggers that use tables that only the coordinator has.
DROP TRIGGER IF EXISTS mark_days_of_deleted_dialogues ON ai_dialogue_log;
DROP TRIGGER IF EXISTS keep_dialogue_id_on_insert ON ai_dialogue_log;
DROP TRIGGER IF EXISTS keep_dialogue_id_on_delete ON ai_dialogue_log;
DROP TRIGGER IF EXISTS keep_dialogue_id_on_update ON ai_dialogue_log;
DROP TRIGGER IF EXISTS keep_dialogue_id_on_truncate ON ai_dialogue_log


-- name: distribution_known_ids
-- Store the id of each dialogue: its table will have no key of its own on the id alone.
INSERT INTO known_ids (id) SELECT id FROM ai_dialogue_log ON CONFLICT (id) DO NOTHING


-- name: distribution_months
-- Months are made with the rights of the caller, who has to be the owner: Citus would log in to the workers as the owner
-- of the function, a role that nobody may log in as.
ALTER FUNCTION ensure_dialogue_partition(integer, date, bigint) SECURITY INVOKER


-- name: distribution_key_by_user
-- The primary key with the user, because a key of a distributed table has to contain the column by which it is
-- distributed.
-- {columns}
ALTER TABLE ai_dialogue_log DROP CONSTRAINT ai_dialogue_log_pkey;
ALTER TABLE ai_dialogue_log ADD CONSTRAINT ai_dialogue_log_pkey PRIMARY KEY ({columns})


-- name: distribution_spread
-- Distribute a table with its rows. Each worker gets the same number of shards.
-- $1 table  $2 key  $3 shards  $4 the table whose shards it shares, or none
SELECT create_distributed_table(
    $1::text::regclass, $2::text, colocate_with => $4::text, shard_count => CASE $4 WHEN 'none' THEN $3::int END
)


-- name: distribution_leftovers
-- Free the disk of the rows that the coordinator still holds in a table that was distributed. No query sees them.
-- $1 table
SELECT truncate_local_data_after_distributing_table($1::text::regclass)


-- name: distribution_prepared
-- The transactions of Citus that each node has prepared and not committed, separated by spaces; the error if it does
-- not answer.
-- {seconds}: only those that were prepared this long ago
SELECT format('%s:%s', nodename, nodeport) AS name, success AS answers, result
FROM run_command_on_all_nodes($$
    SELECT string_agg(gid, ' ') FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE 'citus\_%'
      AND prepared <= clock_timestamp() - interval '{seconds} seconds'
$$)
JOIN pg_dist_node USING (nodeid)


-- name: distribution_volume
-- The size of ai_dialogue_log on the workers, with indexes, and its rows by the statistics of the workers: for each of
-- its months, or for the whole table if it has none. A shard that was never analyzed counts no rows.
SELECT relid::text AS name, citus_total_relation_size(relid) AS bytes, (
    SELECT coalesce(sum(result::float8) FILTER (WHERE success), 0)::bigint
    FROM run_command_on_shards(relid, $$SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = '%s'::regclass$$)
) AS rows
FROM (
    SELECT 'ai_dialogue_log'::regclass AS relid FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass AND relkind = 'r'
    UNION ALL
    SELECT relid FROM pg_partition_tree('ai_dialogue_log') WHERE isleaf AND level > 0
) AS leaves
