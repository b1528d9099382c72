-- Rollback of 0021_add_traces.
-- WARNING: this deletes the spans that wait for their trace to be folded, and which trace each dialogue came from; the
-- dialogues stay. Ignored records count as gaps from then on. Refuses while traces wait to be folded or traces of dialogues
-- are recorded, unless ragledger.delete_data is on (PGOPTIONS=-cragledger.delete_data=on). Stop every ragledger first.
-- squawk-ignore-file ban-drop-table, ban-drop-column, constraint-missing-not-valid

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  waiting bigint;
  known bigint;
BEGIN
  IF to_regclass('touched_traces') IS NULL OR current_setting('ragledger.delete_data', true) = 'on' THEN
    RETURN;
  END IF;
  SELECT count(DISTINCT trace_id) INTO waiting FROM touched_traces;
  IF waiting > 0 THEN
    RAISE EXCEPTION '% traces wait to be folded', waiting
      USING ERRCODE = 'object_in_use', HINT = 'Let the service fold them, or delete them with `ragledger migrate down --delete-data`.';
  END IF;
  SELECT count(*) INTO known FROM dialogue_traces;
  IF known > 0 THEN
    RAISE EXCEPTION 'the traces of % dialogues are recorded', known
      USING ERRCODE = 'object_in_use', HINT = 'Once Kafka has deleted the records, nothing else says which trace a dialogue came from. Keep 0021, or delete the traces with `ragledger migrate down --delete-data`.';
  END IF;
END
$$;

DROP TABLE IF EXISTS touched_traces;
DROP TABLE IF EXISTS staged_spans;
DROP TABLE IF EXISTS dialogue_traces;
ALTER TABLE IF EXISTS erasures
  DROP COLUMN IF EXISTS staged_spans,
  DROP COLUMN IF EXISTS traces;

DO $$
DECLARE
  books record;
BEGIN
  FOR books IN
    SELECT attrelid::regclass::text AS name, ending, meaning
    FROM (VALUES
      ('ingest_ledger', 'next_offset', 'Every offset read is accounted for exactly once, in any committed state'),
      ('ledger_decisions', 'from_offset', 'Books that were closed add up as those that are open do')
    ) AS of (name, ending, meaning)
    JOIN pg_attribute ON attrelid = to_regclass(of.name) AND attname = 'ignored' AND NOT attisdropped
  LOOP
    EXECUTE format('ALTER TABLE %1$s DROP CONSTRAINT IF EXISTS %2$I', books.name, books.name || '_balanced');
    EXECUTE format('UPDATE %s SET gaps = gaps + ignored WHERE ignored > 0', books.name);
    EXECUTE format(
      'ALTER TABLE %1$s ADD CONSTRAINT %2$I'
      ' CHECK (%3$s - start_offset = inserted + duplicates + amended + dead_lettered + gaps)',
      books.name, books.name || '_balanced', books.ending);
    EXECUTE format('COMMENT ON CONSTRAINT %2$I ON %1$s IS %3$L', books.name, books.name || '_balanced', books.meaning);
  END LOOP;
  IF to_regclass('ingest_ledger') IS NOT NULL THEN
    ALTER TABLE ingest_ledger DROP CONSTRAINT IF EXISTS ingest_ledger_not_negative;
    ALTER TABLE ingest_ledger ADD CONSTRAINT ingest_ledger_not_negative CHECK (
      partition >= 0 AND start_offset >= 0 AND epoch >= 0
      AND inserted >= 0 AND duplicates >= 0 AND amended >= 0 AND dead_lettered >= 0 AND gaps >= 0
    );
    COMMENT ON CONSTRAINT ingest_ledger_not_negative ON ingest_ledger IS 'Counts and offsets only grow from zero';
  END IF;
  IF to_regrole('ragledger_ingest') IS NOT NULL AND EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('ai_dialogue_log') AND attname = 'citations' AND NOT attisdropped
  ) THEN
    REVOKE UPDATE (user_id, session_id, query, response, model_used, created_at, citations, latency_ms, token_cost_jpy,
      citation_rate, prompt_tokens, completion_tokens, total_tokens, relevance_score, context_window_size, temperature)
      ON ai_dialogue_log FROM ragledger_ingest;
  END IF;
END
$$;

ALTER TABLE IF EXISTS ingest_ledger DROP COLUMN IF EXISTS ignored;
ALTER TABLE IF EXISTS ledger_decisions DROP COLUMN IF EXISTS ignored;
COMMIT;
