-- Rollback of 0003_optimize_rag_indexes: no data is lost. Without idx_rag_metrics_date_unique no day can be computed.
-- Not CONCURRENTLY: a drop takes a moment once it has the table, gives up when it cannot have it, and in this form also
-- works on a partitioned table.
-- squawk-ignore-file require-concurrent-index-deletion

BEGIN;
SET LOCAL lock_timeout = '5s';
DROP INDEX IF EXISTS idx_plugin_enabled_healthy;
DROP INDEX IF EXISTS idx_rag_metrics_date_unique;
DROP INDEX IF EXISTS idx_provenance_expiring;
DROP INDEX IF EXISTS idx_ai_dialogue_user_created;
COMMIT;
