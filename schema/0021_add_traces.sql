-- 0021_add_traces: records that hold nothing for us get a count of their own in the ledger, and dialogues may come from
-- OpenTelemetry traces. Spans wait in staged_spans until their trace is folded into one dialogue; dialogue_traces keeps
-- which trace a dialogue came from. See docs/adr/0063-traces-are-staged-and-folded.md.
--
-- The ledger has a row for each partition, so checking its new constraints takes no time.
-- squawk-ignore-file constraint-missing-not-valid, ban-drop-constraint

-- ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────────────

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE ingest_ledger ADD COLUMN IF NOT EXISTS ignored BIGINT DEFAULT 0 NOT NULL;
ALTER TABLE ingest_ledger
  DROP CONSTRAINT IF EXISTS ingest_ledger_balanced,
  DROP CONSTRAINT IF EXISTS ingest_ledger_not_negative,
  ADD CONSTRAINT ingest_ledger_balanced
    CHECK (next_offset - start_offset = inserted + duplicates + amended + dead_lettered + ignored + gaps),
  ADD CONSTRAINT ingest_ledger_not_negative CHECK (
    partition >= 0 AND start_offset >= 0 AND epoch >= 0
    AND inserted >= 0 AND duplicates >= 0 AND amended >= 0 AND dead_lettered >= 0 AND ignored >= 0 AND gaps >= 0
  );

ALTER TABLE ledger_decisions ADD COLUMN IF NOT EXISTS ignored BIGINT DEFAULT 0 NOT NULL;
ALTER TABLE ledger_decisions
  DROP CONSTRAINT IF EXISTS ledger_decisions_balanced,
  ADD CONSTRAINT ledger_decisions_balanced
    CHECK (from_offset - start_offset = inserted + duplicates + amended + dead_lettered + ignored + gaps);

COMMENT ON COLUMN ingest_ledger.ignored IS 'Records that by their kind hold nothing for us, such as spans of a health check';
COMMENT ON CONSTRAINT ingest_ledger_balanced ON ingest_ledger IS 'Every offset read is accounted for exactly once, in any committed state';
COMMENT ON CONSTRAINT ingest_ledger_not_negative ON ingest_ledger IS 'Counts and offsets only grow from zero';
COMMENT ON COLUMN ledger_decisions.ignored IS 'The books before the decision: records that held nothing for us';

COMMIT;

-- ── spans and traces ────────────────────────────────────────────────────────────────────────────────────────────────

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Insert-only but for erasures. The contents are messages of protobuf, most of them text that is read once: compressing
-- it would cost more than it saves.
CREATE TABLE IF NOT EXISTS staged_spans (
  id UUID CONSTRAINT staged_spans_pkey PRIMARY KEY,
  trace_id UUID NOT NULL,
  user_id UUID,
  is_log BOOLEAN NOT NULL,
  is_outline BOOLEAN NOT NULL,
  resource BYTEA NOT NULL,
  content BYTEA NOT NULL,
  staged_at TIMESTAMPTZ DEFAULT now() NOT NULL
);
ALTER TABLE staged_spans ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE INDEX IF NOT EXISTS idx_staged_spans_trace ON staged_spans (trace_id);
CREATE INDEX IF NOT EXISTS idx_staged_spans_user ON staged_spans (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_staged_spans_staged_at ON staged_spans USING brin (staged_at);

CREATE TABLE IF NOT EXISTS touched_traces (
  id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT touched_traces_pkey PRIMARY KEY,
  trace_id UUID NOT NULL,
  has_root BOOLEAN NOT NULL,
  touched_at TIMESTAMPTZ DEFAULT now() NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_touched_traces_trace ON touched_traces (trace_id);

CREATE TABLE IF NOT EXISTS dialogue_traces (
  dialogue_id UUID CONSTRAINT dialogue_traces_pkey PRIMARY KEY,
  trace_id TEXT NOT NULL,
  user_id UUID NOT NULL,
  created_at TIMESTAMP NOT NULL,
  service TEXT,
  environment TEXT,
  spans INTEGER NOT NULL,
  model_calls INTEGER NOT NULL,
  retrievals INTEGER NOT NULL,
  tool_calls INTEGER NOT NULL,
  embeddings INTEGER NOT NULL,
  errors INTEGER NOT NULL,
  mapping INTEGER NOT NULL,
  content_hash BYTEA NOT NULL,
  folded_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  closed_at TIMESTAMPTZ
);
CREATE INDEX IF NOT EXISTS idx_dialogue_traces_user ON dialogue_traces (user_id);

ALTER TABLE erasures
  ADD COLUMN IF NOT EXISTS staged_spans BIGINT DEFAULT 0 NOT NULL,
  ADD COLUMN IF NOT EXISTS traces BIGINT DEFAULT 0 NOT NULL;

-- As for the dialogues: users see their own, the service and auditors every row.
ALTER TABLE dialogue_traces ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS dialogue_traces_user_isolation ON dialogue_traces;
DROP POLICY IF EXISTS dialogue_traces_ingest ON dialogue_traces;
DROP POLICY IF EXISTS dialogue_traces_compliance ON dialogue_traces;
CREATE POLICY dialogue_traces_user_isolation ON dialogue_traces FOR SELECT USING (
  user_id = (
    SELECT substring(current_setting('app.current_user_id', true) FROM '^(?:[0-9A-Fa-f]{4}-?){7}[0-9A-Fa-f]{4}$')::uuid
  )
);
COMMENT ON POLICY dialogue_traces_user_isolation ON dialogue_traces IS
  'Users see the traces of their own dialogues: app.current_user_id says who the user is';

DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    CREATE POLICY dialogue_traces_ingest ON dialogue_traces TO ragledger_ingest USING (true) WITH CHECK (true);
    COMMENT ON POLICY dialogue_traces_ingest ON dialogue_traces IS
      'The service reaches every row; its grants say what it may do';
    GRANT UPDATE (ignored) ON ingest_ledger TO ragledger_ingest;
    GRANT SELECT, INSERT, DELETE, UPDATE (user_id, is_outline, resource, content) ON staged_spans TO ragledger_ingest;
    GRANT SELECT, INSERT, DELETE ON touched_traces TO ragledger_ingest;
    GRANT SELECT, INSERT, UPDATE ON dialogue_traces TO ragledger_ingest;
    -- A span that comes late changes the dialogue of its trace. Its text is written, and still not read.
    GRANT UPDATE (user_id, session_id, query, response, model_used, created_at, citations, latency_ms, token_cost_jpy,
      citation_rate, prompt_tokens, completion_tokens, total_tokens, relevance_score, context_window_size, temperature)
      ON ai_dialogue_log TO ragledger_ingest;
  END IF;
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    CREATE POLICY dialogue_traces_compliance ON dialogue_traces FOR SELECT TO ragledger_compliance USING (true);
    COMMENT ON POLICY dialogue_traces_compliance ON dialogue_traces IS 'Auditors see the trace of every dialogue';
    GRANT SELECT ON dialogue_traces, staged_spans TO ragledger_compliance;
  END IF;
  IF to_regrole('ragledger_reader') IS NOT NULL THEN
    GRANT SELECT ON dialogue_traces TO ragledger_reader;
  END IF;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER TABLE staged_spans OWNER TO ragledger_owner;
    ALTER TABLE touched_traces OWNER TO ragledger_owner;
    ALTER TABLE dialogue_traces OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON TABLE staged_spans IS 'Spans and log events of traces, from their record until RAGLEDGER_OTLP__KEEP_H has passed: what a dialogue is folded from';
COMMENT ON COLUMN staged_spans.id IS 'Made from the trace, the span and the content: reading a span again makes no second row';
COMMENT ON COLUMN staged_spans.trace_id IS 'Trace, which is the id of the dialogue';
COMMENT ON COLUMN staged_spans.user_id IS 'User whom the span itself names; NULL: none';
COMMENT ON COLUMN staged_spans.is_log IS 'Whether the content is a LogRecord, which belongs to the span it names, or a Span';
COMMENT ON COLUMN staged_spans.is_outline IS 'Whether only ids and times are kept, as the rest says nothing about a dialogue';
COMMENT ON COLUMN staged_spans.resource IS 'Resource message of OTLP in protobuf: service and environment';
COMMENT ON COLUMN staged_spans.content IS 'Span or LogRecord message of OTLP in protobuf; empty: the user of the trace was erased';
COMMENT ON COLUMN staged_spans.staged_at IS 'When it was written';

COMMENT ON TABLE touched_traces IS 'Traces with spans that are not folded yet: append-only marks, deleted by the fold that used them';
COMMENT ON COLUMN touched_traces.id IS 'Identity of the mark';
COMMENT ON COLUMN touched_traces.trace_id IS 'Trace; not unique on purpose, so that writers never wait for each other';
COMMENT ON COLUMN touched_traces.has_root IS 'Whether the trace''s root came with it';
COMMENT ON COLUMN touched_traces.touched_at IS 'When the mark was made';

COMMENT ON TABLE dialogue_traces IS 'The trace of each dialogue that came from OpenTelemetry; joined to ai_dialogue_log by dialogue_id = id';
COMMENT ON COLUMN dialogue_traces.dialogue_id IS 'Dialogue; the trace id as a UUID';
COMMENT ON COLUMN dialogue_traces.trace_id IS 'Trace id in hex, as tracing tools write it';
COMMENT ON COLUMN dialogue_traces.user_id IS 'User of the dialogue';
COMMENT ON COLUMN dialogue_traces.created_at IS 'created_at of the dialogue, by which its partition is found';
COMMENT ON COLUMN dialogue_traces.service IS 'service.name of the root, or of the earliest span that has one; NULL: none';
COMMENT ON COLUMN dialogue_traces.environment IS 'deployment.environment.name of the same; NULL: none';
COMMENT ON COLUMN dialogue_traces.spans IS 'Spans of the trace that have come';
COMMENT ON COLUMN dialogue_traces.model_calls IS 'Calls of a model';
COMMENT ON COLUMN dialogue_traces.retrievals IS 'Retrievals of documents';
COMMENT ON COLUMN dialogue_traces.tool_calls IS 'Calls of tools';
COMMENT ON COLUMN dialogue_traces.embeddings IS 'Calls of an embedding model';
COMMENT ON COLUMN dialogue_traces.errors IS 'Spans that ended with an error';
COMMENT ON COLUMN dialogue_traces.mapping IS 'Version of the mapping from attributes to fields';
COMMENT ON COLUMN dialogue_traces.content_hash IS 'Hash of the dialogue as it was folded last: the same hash needs no update';
COMMENT ON COLUMN dialogue_traces.folded_at IS 'When the dialogue was last written';
COMMENT ON COLUMN dialogue_traces.closed_at IS 'When its staged spans were dropped; later spans change nothing any more. NULL: not yet';

COMMENT ON COLUMN erasures.staged_spans IS 'Staged spans of traces of the user, emptied';
COMMENT ON COLUMN erasures.traces IS 'Rows deleted from dialogue_traces';

COMMIT;
