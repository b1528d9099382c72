-- 0003_optimize_rag_indexes: four indexes for the queries that matter, and those of 0002 on a table that had rows, all
-- built while the service runs.
--
-- CONCURRENTLY: writers go on during the build. It cannot be part of a transaction, so this file has none around
-- its statements; psql sends them one by one, and so does `ragledger migrate`. lock_timeout stays as the role
-- has it, because these builds wait for older transactions without holding anybody up.
-- PostgreSQL refuses CONCURRENTLY on a partitioned table: run this file before ai_dialogue_log is converted. The
-- conversion keeps the index, and `ragledger migrate` leaves alone what is already there and valid.

-- A concurrent build that fails leaves an invalid index behind, and IF NOT EXISTS would take it for the real one.
-- The drop needs the table for a moment. While another session is still building the index, it gives up instead.
BEGIN;
SET LOCAL lock_timeout = '5s';
DO $$
DECLARE
  unfinished regclass;
BEGIN
  FOR unfinished IN
    SELECT i.indexrelid::regclass
    FROM pg_index AS i
    JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE NOT i.indisvalid AND c.relkind = 'i'
      AND i.indexrelid IN (
        to_regclass('idx_ai_dialogue_user'), to_regclass('idx_ai_dialogue_session'),
        to_regclass('idx_ai_dialogue_created_at'), to_regclass('idx_ai_dialogue_citation_rate'),
        to_regclass('idx_ai_dialogue_user_created'), to_regclass('idx_provenance_expiring'),
        to_regclass('idx_rag_metrics_date_unique'), to_regclass('idx_plugin_enabled_healthy')
      )
  LOOP
    RAISE NOTICE 'dropping index %: an earlier build did not finish', unfinished;
    EXECUTE format('DROP INDEX %s', unfinished);
  END LOOP;
END
$$;
COMMIT;

-- Those of 0002, where the table had rows; elsewhere they are there already.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_ai_dialogue_user ON ai_dialogue_log (user_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_ai_dialogue_session ON ai_dialogue_log (session_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_ai_dialogue_created_at ON ai_dialogue_log (created_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_ai_dialogue_citation_rate ON ai_dialogue_log (citation_rate);

-- A user's history, and unique users over a span of days.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_ai_dialogue_user_created
ON ai_dialogue_log (user_id, created_at DESC);

-- Retention: only what is kept for a limited time is in it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_provenance_expiring
ON provenance (retention_years, acquired_at)
WHERE retention_years IS NOT NULL;

-- One row per day. The roll-up's ON CONFLICT rests on it.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS idx_rag_metrics_date_unique
ON rag_metrics_history (DATE(date));

-- Plugins that can be used right now.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_plugin_enabled_healthy
ON plugin_registry (name, last_health_check)
WHERE enabled = true AND health_status = 'healthy';
