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
