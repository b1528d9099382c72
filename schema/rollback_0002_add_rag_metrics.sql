-- Rollback of 0002_add_rag_metrics.
-- WARNING: this deletes all RAG metrics data. ai_dialogue_log stays, with the columns of the base table and its rows.
-- Dropping is what it is for, and the indexes go in the transaction of everything else.
-- squawk-ignore-file ban-drop-table, ban-drop-column, ban-drop-type, require-concurrent-index-deletion

BEGIN;
SET LOCAL lock_timeout = '5s';

DROP TRIGGER IF EXISTS update_ai_dialogue_log_updated_at_base ON ai_dialogue_log;
DROP TRIGGER IF EXISTS update_ai_dialogue_log_updated_at ON ai_dialogue_log;
DROP TRIGGER IF EXISTS update_provenance_updated_at ON provenance;
DROP TRIGGER IF EXISTS update_plugin_registry_updated_at ON plugin_registry;

DROP TABLE IF EXISTS plugin_registry CASCADE;
DROP TABLE IF EXISTS rag_metrics_history CASCADE;
DROP TABLE IF EXISTS provenance CASCADE;

-- The fourth index, and every CHECK, goes with its column.
DROP INDEX IF EXISTS idx_ai_dialogue_user;
DROP INDEX IF EXISTS idx_ai_dialogue_session;
DROP INDEX IF EXISTS idx_ai_dialogue_created_at;

ALTER TABLE IF EXISTS ai_dialogue_log
  DROP COLUMN IF EXISTS citations,
  DROP COLUMN IF EXISTS latency_ms,
  DROP COLUMN IF EXISTS token_cost_jpy,
  DROP COLUMN IF EXISTS citation_rate,
  DROP COLUMN IF EXISTS prompt_tokens,
  DROP COLUMN IF EXISTS completion_tokens,
  DROP COLUMN IF EXISTS total_tokens,
  DROP COLUMN IF EXISTS relevance_score,
  DROP COLUMN IF EXISTS user_feedback,
  DROP COLUMN IF EXISTS context_window_size,
  DROP COLUMN IF EXISTS temperature;

DROP TYPE IF EXISTS license_type;
DROP TYPE IF EXISTS acquisition_method;
DROP TYPE IF EXISTS content_type;

-- Other tables of the application may use the function too: it goes with its last trigger.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgfoid = to_regprocedure('update_updated_at_column()')) THEN
    DROP FUNCTION IF EXISTS update_updated_at_column();
  END IF;
END
$$;

COMMIT;
