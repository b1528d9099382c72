-- Statements about schema_migrations.


-- name: migrate_create_history
-- Create the table of applied files. The first `ragledger migrate up` runs it; the files themselves do not need the
-- table.
CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER CONSTRAINT schema_migrations_pkey PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  applied_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  applied_by TEXT DEFAULT current_user NOT NULL,
  execution_ms INTEGER NOT NULL
);
COMMENT ON TABLE schema_migrations IS 'Files of the schema that ragledger migrate has applied';
COMMENT ON COLUMN schema_migrations.version IS 'Number of the file';
COMMENT ON COLUMN schema_migrations.name IS 'Name of the file without .sql';
COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of the file as it was applied, in hex';
COMMENT ON COLUMN schema_migrations.applied_at IS 'When it was applied';
COMMENT ON COLUMN schema_migrations.applied_by IS 'Database role that applied it';
COMMENT ON COLUMN schema_migrations.execution_ms IS 'How long it took, in milliseconds';


-- name: migrate_database
-- Properties of the database that decide whether the schema can be created in it.
SELECT
    current_setting('server_encoding') AS encoding,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    pg_is_in_recovery() AS is_standby,
    current_user AS role,
    current_schema() AS schema,
    has_schema_privilege(current_schema(), 'CREATE') AS may_create


-- name: migrate_history_columns
-- The columns of the schema_migrations that this search path finds. No row if there is no such table.
SELECT attname::text AS name
FROM pg_attribute
WHERE attrelid = to_regclass('schema_migrations') AND attnum > 0 AND NOT attisdropped


-- name: migrate_index_is_built
-- One row if the index exists and can be used. No row if it is missing or its build did not finish.
SELECT 1 AS built
FROM pg_index
WHERE indexrelid = to_regclass($1) AND indisvalid


-- name: migrate_lock_lives_on
-- Switch off, for this transaction, the time limits that would end it while it only holds the lock.
SELECT set_config(name, '0', true)
FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')


-- name: migrate_missing_tables
-- The named tables that this search path does not find.
SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL


-- name: migrate_partitions_without_index
-- The partitions of a table without an index that is attached to the given index of the table.
-- $1 the table  $2 its index
SELECT inhrelid::regclass::text AS partition, regexp_replace(child.relname, '^' || $1 || '_', '') AS suffix
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid AND child.relkind = 'r'
WHERE inhparent = $1::text::regclass
  AND NOT EXISTS (
    SELECT FROM pg_index JOIN pg_inherits AS attached ON attached.inhrelid = indexrelid
    WHERE indrelid = child.oid AND attached.inhparent = $2::text::regclass
  )
ORDER BY child.relname


-- name: migrate_read_history
-- All applied files.
SELECT version, name, checksum, applied_at, applied_by, execution_ms
FROM schema_migrations
ORDER BY version


-- name: migrate_record
-- Record a file that was run. If the row is already there, another process has run the same file, and its row stays.
INSERT INTO schema_migrations (version, name, checksum, execution_ms)
VALUES ($1, $2, $3, $4)
ON CONFLICT (version) DO NOTHING


-- name: schema_ready
-- The tables that the service needs and that are missing.
SELECT name
FROM unnest(ARRAY[
    'ai_dialogue_log', 'provenance', 'rag_metrics_history', 'ingest_ledger', 'dead_letters', 'touched_days',
    'kept_feedback', 'kept_verifications', 'plugin_registry',
    'rollup_basis', 'computed_days', 'rollup_buckets',
    'known_ids', 'partition_archives',
    'erased_users', 'erasure_version',
    'ledger_decisions',
    'dialogue_costs', 'price_versions',
    'dialogue_retention', 'legal_holds'
]) AS name
WHERE to_regclass(name) IS NULL


-- name: schema_recorded
-- Whether migrations are recorded at all: files that were run with psql alone leave no record. Also the encoding of the
-- database, because psql creates the tables even in a database that cannot hold every text.
SELECT to_regclass('schema_migrations') IS NOT NULL AS recorded, current_setting('server_encoding') AS encoding


-- name: schema_version
-- The newest recorded migration.
SELECT max(version) AS version FROM schema_migrations
