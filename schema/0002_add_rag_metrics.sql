-- 0002_add_rag_metrics: dialogues, provenance, daily metrics and plugins.
--
-- Three transactions, so that a table that already holds rows is never locked for long: the first only touches
-- the catalog, the second reads the table to check it, the third makes its indexes where that takes no time. Each may
-- be run again.
-- Every TIMESTAMP here is UTC. NOW() as a default is UTC where the session's TimeZone is, so writers that
-- cannot promise that must state their own timestamps, as ragledger does.
--
-- The four indexes of ai_dialogue_log say at the end why they need not be built concurrently here.
-- squawk-ignore-file require-concurrent-index-creation

BEGIN;

-- ALTER TABLE waits for whoever uses the table, and everybody else then waits for it: give up early instead.
SET LOCAL lock_timeout = '5s';

-- The base table, for databases whose application did not create it.
CREATE TABLE IF NOT EXISTS ai_dialogue_log (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id UUID NOT NULL,
  session_id UUID NOT NULL,
  query TEXT NOT NULL,
  response TEXT NOT NULL,
  model_used VARCHAR(100) NOT NULL,
  created_at TIMESTAMP DEFAULT NOW() NOT NULL,
  updated_at TIMESTAMP DEFAULT NOW() NOT NULL
);

-- Enums. CREATE TYPE has no IF NOT EXISTS.
DO $$
BEGIN
  IF to_regtype('content_type') IS NULL THEN
    CREATE TYPE content_type AS ENUM ('material', 'creation_log', 'generated', 'note_article', 'ai_response');
  END IF;
  IF to_regtype('acquisition_method') IS NULL THEN
    CREATE TYPE acquisition_method AS ENUM (
      'api_fetch', 'manual_upload', 'ai_generated', 'user_created', 'system_import'
    );
  END IF;
  IF to_regtype('license_type') IS NULL THEN
    CREATE TYPE license_type AS ENUM (
      'cc0', 'cc_by', 'cc_by_sa', 'cc_by_nc', 'cc_by_nd', 'mit', 'apache_2_0', 'proprietary', 'unknown'
    );
  END IF;
END
$$;

-- Nullable columns without a default: no rewrite, no scan, however large the table is.
ALTER TABLE ai_dialogue_log
  ADD COLUMN IF NOT EXISTS citations JSONB,
  ADD COLUMN IF NOT EXISTS latency_ms INTEGER,
  ADD COLUMN IF NOT EXISTS token_cost_jpy NUMERIC(8,2),
  ADD COLUMN IF NOT EXISTS citation_rate NUMERIC(5,2),
  ADD COLUMN IF NOT EXISTS prompt_tokens INTEGER,
  ADD COLUMN IF NOT EXISTS completion_tokens INTEGER,
  ADD COLUMN IF NOT EXISTS total_tokens INTEGER,
  ADD COLUMN IF NOT EXISTS relevance_score NUMERIC(3,2),
  ADD COLUMN IF NOT EXISTS user_feedback INTEGER,
  ADD COLUMN IF NOT EXISTS context_window_size INTEGER,
  ADD COLUMN IF NOT EXISTS temperature NUMERIC(3,2);

-- The rules for these columns. A CHECK given with ADD COLUMN would read the whole table under an exclusive lock;
-- NOT VALID holds for new rows at once, and the second transaction below checks the old ones without one.
-- Upper bounds also where the type has one: a NUMERIC(8,2) takes NaN, and one NaN makes a day's sum NaN.
DO $$
DECLARE
  rule record;
BEGIN
  FOR rule IN
    SELECT * FROM (VALUES
      ('ai_dialogue_log_latency_ms_check', 'latency_ms >= 0'),
      ('ai_dialogue_log_token_cost_jpy_check', 'token_cost_jpy BETWEEN 0 AND 999999.99'),
      ('ai_dialogue_log_citation_rate_check', 'citation_rate BETWEEN 0 AND 999.99'),
      ('ai_dialogue_log_prompt_tokens_check', 'prompt_tokens >= 0'),
      ('ai_dialogue_log_completion_tokens_check', 'completion_tokens >= 0'),
      ('ai_dialogue_log_total_tokens_check', 'total_tokens >= 0'),
      ('ai_dialogue_log_relevance_score_check', 'relevance_score BETWEEN 0 AND 1'),
      ('ai_dialogue_log_user_feedback_check', 'user_feedback IN (-1, 0, 1)'),
      ('ai_dialogue_log_context_window_size_check', 'context_window_size >= 0'),
      ('ai_dialogue_log_temperature_check', 'temperature BETWEEN 0 AND 2')
    ) AS rules (name, condition)
  LOOP
    IF NOT EXISTS (
      SELECT FROM pg_constraint WHERE conrelid = 'ai_dialogue_log'::regclass AND conname = rule.name
    ) THEN
      EXECUTE format('ALTER TABLE ai_dialogue_log ADD CONSTRAINT %I CHECK (%s) NOT VALID', rule.name, rule.condition);
    END IF;
  END LOOP;
END
$$;

CREATE TABLE IF NOT EXISTS provenance (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  content_id UUID NOT NULL,
  content_type content_type NOT NULL,
  source_uri TEXT NOT NULL,
  license_type license_type NOT NULL,
  acquisition_method acquisition_method NOT NULL,
  acquired_at TIMESTAMP NOT NULL,
  retention_years INTEGER CONSTRAINT provenance_retention_years_check CHECK (retention_years >= 0),
  acquired_by UUID,
  external_share_consent BOOLEAN,
  permission_flag BOOLEAN,
  last_verified_at TIMESTAMP,
  access_policy JSONB,
  created_at TIMESTAMP DEFAULT NOW() NOT NULL,
  updated_at TIMESTAMP DEFAULT NOW() NOT NULL
);

-- date is a plain timestamp: DATE(date) in the unique index of 0003 must not depend on a time zone.
-- The percentiles are what PERCENTILE_CONT returns, so that a stored day equals the query to the last bit.
CREATE TABLE IF NOT EXISTS rag_metrics_history (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  date TIMESTAMP NOT NULL,
  total_dialogues INTEGER DEFAULT 0 NOT NULL,
  unique_users INTEGER DEFAULT 0 NOT NULL,
  citation_rate NUMERIC(5,2),
  citation_count BIGINT,
  latency_p50 DOUBLE PRECISION,
  latency_p95 DOUBLE PRECISION,
  latency_p99 DOUBLE PRECISION,
  total_cost NUMERIC(10,2),
  cost_per_answer NUMERIC(6,2),
  prompt_tokens BIGINT,
  completion_tokens BIGINT,
  total_tokens BIGINT,
  avg_relevance_score NUMERIC(3,2),
  feedback_positive INTEGER DEFAULT 0 NOT NULL,
  feedback_neutral INTEGER DEFAULT 0 NOT NULL,
  feedback_negative INTEGER DEFAULT 0 NOT NULL,
  slo_compliance JSONB,
  computed_at TIMESTAMP,
  created_at TIMESTAMP DEFAULT NOW() NOT NULL
);

-- A name is bounded because it is indexed: an index entry cannot be longer than about 2,700 bytes.
CREATE TABLE IF NOT EXISTS plugin_registry (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  name VARCHAR(255) NOT NULL CONSTRAINT plugin_registry_name_key UNIQUE,
  source TEXT NOT NULL,
  capabilities JSONB NOT NULL,
  version TEXT NOT NULL,
  enabled BOOLEAN DEFAULT true NOT NULL,
  health_status VARCHAR(20) DEFAULT 'unknown' NOT NULL
    CONSTRAINT plugin_registry_health_status_check
    CHECK (health_status IN ('healthy', 'degraded', 'unhealthy', 'unknown')),
  last_health_check TIMESTAMP,
  config JSONB,
  created_at TIMESTAMP DEFAULT NOW() NOT NULL,
  updated_at TIMESTAMP DEFAULT NOW() NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_provenance_content ON provenance (content_id, content_type);
CREATE INDEX IF NOT EXISTS idx_provenance_source ON provenance (source_uri);
CREATE INDEX IF NOT EXISTS idx_provenance_license ON provenance (license_type);
CREATE INDEX IF NOT EXISTS idx_provenance_retention ON provenance (retention_years);
CREATE INDEX IF NOT EXISTS idx_rag_metrics_date ON rag_metrics_history (date);
CREATE INDEX IF NOT EXISTS idx_rag_metrics_compliance ON rag_metrics_history USING GIN (slo_compliance);
CREATE INDEX IF NOT EXISTS idx_plugin_name ON plugin_registry (name);
CREATE INDEX IF NOT EXISTS idx_plugin_enabled ON plugin_registry (enabled);

-- The name is a common one: an application's own function of that name is used as it is, never replaced.
DO $$
BEGIN
  IF to_regprocedure('update_updated_at_column()') IS NULL THEN
    CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $function$
    BEGIN
      NEW.updated_at := NOW() AT TIME ZONE 'UTC';
      RETURN NEW;
    END
    $function$;
    COMMENT ON FUNCTION update_updated_at_column() IS
      'Trigger function: sets updated_at to the start of the current transaction, in UTC';
  END IF;
END
$$;

-- One updated_at trigger per table: an earlier draft of this file gave ai_dialogue_log a second one.
DROP TRIGGER IF EXISTS update_ai_dialogue_log_updated_at ON ai_dialogue_log;
CREATE OR REPLACE TRIGGER update_ai_dialogue_log_updated_at_base
  BEFORE UPDATE ON ai_dialogue_log
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE OR REPLACE TRIGGER update_provenance_updated_at
  BEFORE UPDATE ON provenance
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE OR REPLACE TRIGGER update_plugin_registry_updated_at
  BEFORE UPDATE ON plugin_registry
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

COMMENT ON TYPE content_type IS 'What kind of content a provenance row describes';
COMMENT ON TYPE acquisition_method IS 'How a piece of content came to us';
COMMENT ON TYPE license_type IS 'Under which terms a piece of content may be used; unknown where nobody stated them';

COMMENT ON TABLE ai_dialogue_log IS 'RAG dialogue logs with citation tracking and quality metrics';
COMMENT ON COLUMN ai_dialogue_log.id IS 'Identity of the dialogue: the event''s own, or derived from where the event came from';
COMMENT ON COLUMN ai_dialogue_log.user_id IS 'Who asked; users(id) where 0004 applies';
COMMENT ON COLUMN ai_dialogue_log.session_id IS 'The conversation this dialogue belongs to';
COMMENT ON COLUMN ai_dialogue_log.query IS 'The question as it was asked';
COMMENT ON COLUMN ai_dialogue_log.response IS 'The answer as it was given';
COMMENT ON COLUMN ai_dialogue_log.model_used IS 'Name of the model that answered';
COMMENT ON COLUMN ai_dialogue_log.created_at IS 'When the dialogue took place, UTC';
COMMENT ON COLUMN ai_dialogue_log.updated_at IS 'When the row was last changed, UTC; kept by a trigger';
COMMENT ON COLUMN ai_dialogue_log.citations IS 'JSONB array of citation objects with source, confidence, and timestamp';
COMMENT ON COLUMN ai_dialogue_log.latency_ms IS 'Time from question to answer in milliseconds';
COMMENT ON COLUMN ai_dialogue_log.token_cost_jpy IS 'Cost of the tokens in Japanese yen, up to 999,999.99';
COMMENT ON COLUMN ai_dialogue_log.citation_rate IS 'Share of the answer that citations support, in percent';
COMMENT ON COLUMN ai_dialogue_log.prompt_tokens IS 'Tokens of the prompt, context included';
COMMENT ON COLUMN ai_dialogue_log.completion_tokens IS 'Tokens of the answer';
COMMENT ON COLUMN ai_dialogue_log.total_tokens IS 'Tokens in all; the sum of the two where it was not stated';
COMMENT ON COLUMN ai_dialogue_log.relevance_score IS 'How well the retrieved context fits the question, 0.00 to 1.00';
COMMENT ON COLUMN ai_dialogue_log.user_feedback IS 'The user''s verdict: -1 negative, 0 neutral, 1 positive; NULL while none was given';
COMMENT ON COLUMN ai_dialogue_log.context_window_size IS 'Size of the model''s context window in tokens';
COMMENT ON COLUMN ai_dialogue_log.temperature IS 'Sampling temperature of the model, 0.00 to 2.00';

COMMENT ON TABLE provenance IS 'Data provenance tracking for compliance and transparency (GDPR, C2PA ready)';
COMMENT ON COLUMN provenance.id IS 'Identity of the acquisition: the event''s own, or derived from where the event came from';
COMMENT ON COLUMN provenance.content_id IS 'The content acquired; materials(id) where 0004 applies';
COMMENT ON COLUMN provenance.content_type IS 'What kind of content it is';
COMMENT ON COLUMN provenance.source_uri IS 'Where the content came from';
COMMENT ON COLUMN provenance.license_type IS 'Under which terms it may be used';
COMMENT ON COLUMN provenance.acquisition_method IS 'How it came to us';
COMMENT ON COLUMN provenance.acquired_at IS 'When it came to us, UTC; retention counts from here';
COMMENT ON COLUMN provenance.retention_years IS 'Years to keep it from acquired_at; NULL keeps it without limit';
COMMENT ON COLUMN provenance.acquired_by IS 'Who acquired it; users(id) where 0004 applies; NULL where nobody did or nobody is known';
COMMENT ON COLUMN provenance.external_share_consent IS 'Whether sharing it outside was consented to; NULL: not stated';
COMMENT ON COLUMN provenance.permission_flag IS 'Whether using it is permitted; NULL: not stated';
COMMENT ON COLUMN provenance.last_verified_at IS 'When its terms were last checked, UTC; NULL: never';
COMMENT ON COLUMN provenance.access_policy IS 'JSONB object that says who may see the content; NULL: not stated';
COMMENT ON COLUMN provenance.created_at IS 'When the row was written, UTC';
COMMENT ON COLUMN provenance.updated_at IS 'When the row was last changed, UTC; kept by a trigger';

COMMENT ON TABLE rag_metrics_history IS 'Daily aggregated RAG metrics for dashboard and SLO monitoring';
COMMENT ON COLUMN rag_metrics_history.id IS 'Identity of the row; the day itself is what is unique (0003)';
COMMENT ON COLUMN rag_metrics_history.date IS 'Midnight at which the day begins, on the wall clock of the business time zone';
COMMENT ON COLUMN rag_metrics_history.total_dialogues IS 'Dialogues of the day';
COMMENT ON COLUMN rag_metrics_history.unique_users IS 'Users with at least one dialogue that day';
COMMENT ON COLUMN rag_metrics_history.citation_rate IS 'Share of the dialogues with at least one citation, in percent';
COMMENT ON COLUMN rag_metrics_history.citation_count IS 'Citations of the day';
COMMENT ON COLUMN rag_metrics_history.latency_p50 IS 'Median of latency_ms, interpolated; NULL where no dialogue states one';
COMMENT ON COLUMN rag_metrics_history.latency_p95 IS '95th percentile of latency_ms, interpolated; NULL where no dialogue states one';
COMMENT ON COLUMN rag_metrics_history.latency_p99 IS '99th percentile of latency_ms, interpolated; NULL where no dialogue states one';
COMMENT ON COLUMN rag_metrics_history.total_cost IS 'Sum of token_cost_jpy, in Japanese yen';
COMMENT ON COLUMN rag_metrics_history.cost_per_answer IS 'Mean of token_cost_jpy, in Japanese yen';
COMMENT ON COLUMN rag_metrics_history.prompt_tokens IS 'Sum of prompt_tokens';
COMMENT ON COLUMN rag_metrics_history.completion_tokens IS 'Sum of completion_tokens';
COMMENT ON COLUMN rag_metrics_history.total_tokens IS 'Sum of total_tokens';
COMMENT ON COLUMN rag_metrics_history.avg_relevance_score IS 'Mean of relevance_score, 0.00 to 1.00';
COMMENT ON COLUMN rag_metrics_history.feedback_positive IS 'Dialogues with user_feedback 1';
COMMENT ON COLUMN rag_metrics_history.feedback_neutral IS 'Dialogues with user_feedback 0';
COMMENT ON COLUMN rag_metrics_history.feedback_negative IS 'Dialogues with user_feedback -1';
COMMENT ON COLUMN rag_metrics_history.slo_compliance IS 'JSONB object, one member per objective: target, operator, actual, met';
COMMENT ON COLUMN rag_metrics_history.computed_at IS 'When the day was last computed, UTC';
COMMENT ON COLUMN rag_metrics_history.created_at IS 'When the day was first computed, UTC';

COMMENT ON TABLE plugin_registry IS 'Content sources that announced themselves, with their latest state';
COMMENT ON COLUMN plugin_registry.id IS 'Identity of the row; plugins know each other by name';
COMMENT ON COLUMN plugin_registry.name IS 'Unique name of the plugin';
COMMENT ON COLUMN plugin_registry.source IS 'Where the plugin''s content comes from';
COMMENT ON COLUMN plugin_registry.capabilities IS 'JSONB object of what the plugin can do, such as {"list": true}';
COMMENT ON COLUMN plugin_registry.version IS 'Version of the plugin as it states it';
COMMENT ON COLUMN plugin_registry.enabled IS 'Whether the plugin is in use';
COMMENT ON COLUMN plugin_registry.health_status IS 'Latest reported health: healthy, degraded, unhealthy; unknown until one is reported';
COMMENT ON COLUMN plugin_registry.last_health_check IS 'When that health was reported, UTC; NULL: never';
COMMENT ON COLUMN plugin_registry.config IS 'JSONB object of the plugin''s settings; NULL: none';
COMMENT ON COLUMN plugin_registry.created_at IS 'When the plugin was first seen, UTC';
COMMENT ON COLUMN plugin_registry.updated_at IS 'When the row was last changed, UTC; kept by a trigger';

COMMIT;

-- Check the rows that were there before. Readers and writers go on; a row that breaks a rule ends it with the rule's name.
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
ALTER TABLE ai_dialogue_log
  VALIDATE CONSTRAINT ai_dialogue_log_latency_ms_check,
  VALIDATE CONSTRAINT ai_dialogue_log_token_cost_jpy_check,
  VALIDATE CONSTRAINT ai_dialogue_log_citation_rate_check,
  VALIDATE CONSTRAINT ai_dialogue_log_prompt_tokens_check,
  VALIDATE CONSTRAINT ai_dialogue_log_completion_tokens_check,
  VALIDATE CONSTRAINT ai_dialogue_log_total_tokens_check,
  VALIDATE CONSTRAINT ai_dialogue_log_relevance_score_check,
  VALIDATE CONSTRAINT ai_dialogue_log_user_feedback_check,
  VALIDATE CONSTRAINT ai_dialogue_log_context_window_size_check,
  VALIDATE CONSTRAINT ai_dialogue_log_temperature_check;
COMMIT;

-- The indexes of ai_dialogue_log, where building them holds up nobody: on a table without rows. On one with rows 0003
-- builds them, while writers go on; a partitioned one cannot be built that way, so its indexes are made here.
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass AND relkind = 'p')
    OR NOT EXISTS (SELECT FROM ai_dialogue_log)
  THEN
    CREATE INDEX IF NOT EXISTS idx_ai_dialogue_user ON ai_dialogue_log (user_id);
    CREATE INDEX IF NOT EXISTS idx_ai_dialogue_session ON ai_dialogue_log (session_id);
    CREATE INDEX IF NOT EXISTS idx_ai_dialogue_created_at ON ai_dialogue_log (created_at);
    CREATE INDEX IF NOT EXISTS idx_ai_dialogue_citation_rate ON ai_dialogue_log (citation_rate);
  END IF;
END
$$;
COMMIT;
