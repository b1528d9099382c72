-- Statements about the catalog and the statistics, for `ragledger doctor`.


-- name: doctor_checkpoints
-- Checkpoints started by time, and those forced by the size of the log, from PostgreSQL 17 on.
SELECT num_timed AS timed, num_requested AS requested, stats_reset FROM pg_stat_checkpointer


-- name: doctor_checkpoints_15
-- Checkpoints started by time, and those forced by the size of the log, before PostgreSQL 17.
SELECT checkpoints_timed AS timed, checkpoints_req AS requested, stats_reset FROM pg_stat_bgwriter


-- name: doctor_copies
-- Tables with dialogues outside ai_dialogue_log: months that are being archived or restored, and tables of a
-- conversion. Returns the phase of archiving of each, and whether the command that works on it is running.
SELECT relname::text AS name,
       (SELECT phase FROM partition_archives WHERE to_regclass(partition) = pg_class.oid AND phase <> 'dropped') AS phase,
       EXISTS (
           SELECT FROM pg_locks
           WHERE locktype = 'advisory' AND granted AND objsubid = 1
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND (classid::bigint << 32 | objid::bigint) = $1
       ) AS is_running
FROM pg_class
WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('ai_dialogue_log'))
  AND relkind IN ('r', 'p') AND NOT relispartition
  AND relname ~ '^ai_dialogue_log_(new|before|[0-9]{4}_[0-9]{2})$'
ORDER BY relname


-- name: doctor_amendments_set_aside
-- The waiting amendments that the database refused when their row arrived, by table and SQLSTATE.
SELECT 'kept_feedback' AS name, sqlstate, count(*) AS amendments, min(applied_at) AS since
FROM kept_feedback
WHERE sqlstate IS NOT NULL
GROUP BY sqlstate
UNION ALL
SELECT 'kept_verifications', sqlstate, count(*), min(applied_at)
FROM kept_verifications
WHERE sqlstate IS NOT NULL
GROUP BY sqlstate
ORDER BY name, sqlstate


-- name: doctor_days
-- How many days wait to be computed, the first of them, how long it has waited, the newest computed day, and today in
-- the business time zone.
-- $1 business time zone
SELECT
    (SELECT count(DISTINCT day) FROM touched_days) AS waiting,
    (SELECT day FROM touched_days ORDER BY touched_at LIMIT 1) AS first_day,
    (SELECT extract(epoch FROM now() - min(touched_at))::float8 FROM touched_days) AS waiting_seconds,
    (SELECT max(date(date)) FROM rag_metrics_history) AS newest,
    (now() AT TIME ZONE $1::text)::date AS today


-- name: doctor_dead_letters
-- Open dead letters by reason, with the time of the first.
SELECT reason, count(*) AS records, min(dead_lettered_at) AS since
FROM dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL
GROUP BY reason
ORDER BY count(*) DESC, reason


-- name: doctor_invalid_indexes
-- Indexes of the tables in our schema that no query can use, without those of our own files, which `verify` checks.
SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS table_name
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relnamespace = current_schema()::regnamespace AND c.relkind = 'i'
WHERE NOT (i.indisvalid AND i.indisready) AND c.relname NOT LIKE 'idx\_%'
ORDER BY 1


-- name: doctor_ledger
-- The ledger of one consumer group: whether its equation holds in each row, why a row has stopped if it has, and for
-- how long it has not moved.
-- $1 group
SELECT
    topic, partition, next_offset, epoch, owner, topic_id,
    CASE WHEN leader_epoch_at = next_offset THEN leader_epoch END AS leader_epoch,
    stopped_because, resume_from, unreadable_from, unreadable_until, diverges_at,
    next_offset - start_offset = inserted + duplicates + amended + dead_lettered + ignored + gaps AS holds,
    extract(epoch FROM now() - updated_at)::float8 AS idle_seconds
FROM ingest_ledger
WHERE consumer_group = $1
ORDER BY topic, partition


-- name: doctor_missing_tables
-- Our tables that are missing.
SELECT name
FROM unnest(ARRAY[
    'ai_dialogue_log', 'provenance', 'rag_metrics_history', 'plugin_registry', 'ingest_ledger', 'dead_letters',
    'touched_days'
]) AS name
WHERE to_regclass(name) IS NULL


-- name: doctor_privileges
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


-- name: doctor_role
-- Our own role: its attributes, its memberships, and whether it may create temporary tables. A table counts as its own
-- if it belongs to the role, or to a role whose rights it has.
-- $1 tables
SELECT
    quote_ident(rolname) AS name,
    rolsuper AS is_superuser,
    rolcreaterole OR rolcreatedb OR rolreplication AS may_more,
    rolbypassrls AS bypasses,
    rolconnlimit AS connection_limit,
    to_regrole('ragledger_ingest') IS NOT NULL AS ingest_exists,
    pg_has_role(to_regrole('ragledger_ingest'), 'USAGE') IS TRUE AS is_ingest,
    has_database_privilege(current_database(), 'TEMPORARY') AS may_stage,
    ARRAY(
        SELECT named.name
        FROM unnest($1::text[]) AS named (name)
        JOIN pg_class AS c ON c.oid = to_regclass(named.name) AND pg_has_role(c.relowner, 'USAGE')
    ) AS owned
FROM pg_roles
WHERE rolname = current_user


-- name: doctor_schema_rights
-- The schema of our tables, and whether every role may create objects in it, as in databases that were created before
-- PostgreSQL 15.
SELECT quote_ident(nspname) AS name,
       EXISTS (SELECT FROM aclexplode(nspacl) WHERE grantee = 0 AND privilege_type = 'CREATE') AS is_open
FROM pg_namespace
WHERE oid = (SELECT relnamespace FROM pg_class WHERE pg_class.oid = to_regclass('ingest_ledger'))


-- name: doctor_server
-- The server, our identity on it, and whether it accepts writes.
SELECT
    current_setting('server_version_num')::integer AS version_number,
    current_setting('server_version') AS version,
    quote_ident(current_database()) AS database,
    quote_ident(current_user) AS role,
    current_setting('server_encoding') AS encoding,
    pg_is_in_recovery() AS is_standby,
    current_setting('default_transaction_read_only')::boolean AS is_read_only


-- name: doctor_sessions
-- Number of connected clients, how many of them are our replicas in this database as far as our role can see, and the
-- limits of connections.
SELECT
    count(*) FILTER (WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS connected,
    count(*) FILTER (WHERE application_name = 'ragledger' AND datname = current_database()) AS ours,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit
FROM pg_stat_activity


-- name: doctor_settings
-- The named settings as a session of our role has them, and their possible values if these are a list. Unknown settings
-- are left out. Units are those of pg_settings.
-- $1 names
SELECT name, setting, enumvals AS choices FROM pg_settings WHERE name = ANY ($1::text[])


-- name: doctor_statements
-- The statements on our tables that took the most time in this database, with mean and 95th percentile in milliseconds.
-- The percentile is that of a normal distribution of the same mean and deviation. PostgreSQL has already replaced
-- constants in the statements.
-- Formatted in: the schema of the extension.
SELECT
    regexp_replace(regexp_replace(query, '--[^\n]*', '', 'g'), '\s+', ' ', 'g') AS statement,
    calls,
    total_exec_time AS total_ms,
    mean_exec_time AS mean_ms,
    mean_exec_time + 1.645 * stddev_exec_time AS p95_ms
FROM {schema}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND query ~* '(ai_dialogue_log|provenance|rag_metrics_history|ingest_ledger|dead_letters|touched_days|plugin_registry)'
ORDER BY total_exec_time DESC
LIMIT 50


-- name: doctor_statements_schema
-- The schema of pg_stat_statements in this database, if it was created here; whether a server without it can have it;
-- and whether we see the statements of others.
SELECT
    (SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_stat_statements') AS schema_name,
    EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS available,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all


-- name: doctor_strangers
-- Roles that default privileges have given rights on our tables, and on which: for instance the roles of a hosted
-- database's web API. PUBLIC, the owners, our own roles and superusers are not listed. SELECT on a table with row-level
-- security is left to its policies.
-- $1 tables and views  $2 our roles
SELECT quote_ident(rolname) AS role, array_agg(DISTINCT pg_class.oid::regclass::text) AS tables
FROM pg_class
CROSS JOIN aclexplode(relacl) AS acl
JOIN pg_roles ON pg_roles.oid = acl.grantee
WHERE pg_class.oid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)
  AND grantee <> relowner AND NOT rolsuper AND rolname <> ALL ($2::text[])
  AND NOT (relrowsecurity AND privilege_type = 'SELECT')
  AND EXISTS (
    SELECT FROM pg_default_acl CROSS JOIN aclexplode(defaclacl) AS given
    WHERE defaclobjtype = 'r' AND defaclnamespace IN (0, relnamespace)
      AND given.grantee = acl.grantee AND given.privilege_type = acl.privilege_type
  )
GROUP BY rolname
ORDER BY rolname


-- name: doctor_string_ids
-- Open dead letters that were rejected because an id of a user or a session is no UUID.
SELECT count(*) AS records
FROM dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL AND reason = 'invalid_field'
  AND detail ->> 'message' LIKE '%RAGLEDGER\_IDS\_\_NAMESPACE%'


-- name: doctor_tables
-- The named tables with their partitions: size in bytes, size of indexes, live and dead rows, whether statistics were
-- ever gathered, and the age of the oldest transaction id, which must not come near two thousand million.
-- $1 tables
WITH parts AS (
    SELECT named.name, c.oid AS root, c.relkind = 'p' AS partitioned, coalesce(part.relid, c.oid) AS relid
    FROM unnest($1::text[]) AS named (name)
    JOIN pg_class AS c ON c.oid = to_regclass(named.name)
    LEFT JOIN LATERAL pg_partition_tree(c.oid) AS part ON true
)
SELECT
    name,
    bool_or(partitioned) AS partitioned,
    sum(pg_table_size(c.oid) + pg_indexes_size(c.oid))::bigint AS bytes,
    sum(pg_indexes_size(c.oid))::bigint AS index_bytes,
    coalesce(sum(s.n_live_tup), 0)::bigint AS live,
    coalesce(sum(s.n_dead_tup), 0)::bigint AS dead,
    coalesce(bool_or(s.last_analyze IS NOT NULL OR s.last_autoanalyze IS NOT NULL), false) AS analyzed,
    max(age(nullif(c.relfrozenxid, '0'::xid)))::bigint AS transaction_age
FROM parts
JOIN pg_class AS c ON c.oid = parts.relid
LEFT JOIN pg_stat_user_tables AS s ON s.relid = parts.relid
GROUP BY name
ORDER BY 3 DESC


-- name: doctor_unused_indexes
-- Indexes of the named tables and their partitions that no query has used since `since`, the larger ones first. Unique
-- indexes are left out, because they work without scans. Indexes of tables too small for an index to be used are left
-- out too.
-- $1 tables  $2 least number of rows
SELECT
    s.schemaname AS schema_name, s.relname AS table_name, s.indexrelname AS name,
    pg_relation_size(s.indexrelid) AS bytes,
    coalesce(
        (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()), pg_postmaster_start_time()
    ) AS since
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS root ON root.oid = to_regclass(named.name)
LEFT JOIN LATERAL pg_partition_tree(root.oid) AS part ON true
JOIN pg_stat_user_indexes AS s ON s.relid = coalesce(part.relid, root.oid)
JOIN pg_stat_user_tables AS t ON t.relid = s.relid AND t.n_live_tup >= $2
JOIN pg_index AS i ON i.indexrelid = s.indexrelid
WHERE s.idx_scan = 0 AND NOT i.indisunique AND NOT i.indisexclusion AND i.indisvalid
ORDER BY bytes DESC, s.indexrelname


-- name: doctor_volume
-- The number of dialogues on the busiest whole day of the last week.
-- $1 business time zone
SELECT max(total_dialogues) AS dialogues
FROM rag_metrics_history
WHERE date(date) BETWEEN (now() AT TIME ZONE $1::text)::date - 7 AND (now() AT TIME ZONE $1::text)::date - 1
