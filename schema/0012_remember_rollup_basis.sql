-- 0012_remember_rollup_basis: what each day was computed under, and when each dialogue was stored.
--
-- A day depends on the business time zone and is judged by the objectives. With both remembered, the service notices
-- days that were computed under others and computes them again.
-- ingested_at: how fresh a day was can only be told from when its dialogues were stored, and updated_at moves on with
-- every later change. The column is nullable and its default is set apart, so that no row is rewritten and rows from
-- before stay NULL: nobody knows when they were stored.

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE ai_dialogue_log ADD COLUMN IF NOT EXISTS ingested_at TIMESTAMP;
ALTER TABLE ai_dialogue_log ALTER COLUMN ingested_at SET DEFAULT (NOW() AT TIME ZONE 'UTC');

CREATE TABLE IF NOT EXISTS rollup_basis (
  id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT rollup_basis_pkey PRIMARY KEY,
  time_zone TEXT NOT NULL,
  objectives JSONB NOT NULL,
  adopted_at TIMESTAMPTZ,
  adopted_by TEXT,
  created_at TIMESTAMPTZ DEFAULT now() NOT NULL
);

-- By a digest: a long list of objectives does not fit into an index entry.
CREATE UNIQUE INDEX IF NOT EXISTS idx_rollup_basis_content ON rollup_basis (time_zone, md5(objectives::text));

CREATE TABLE IF NOT EXISTS computed_days (
  day DATE CONSTRAINT computed_days_pkey PRIMARY KEY,
  basis_id BIGINT NOT NULL,
  left_under BIGINT,
  ingest_delay_p95 DOUBLE PRECISION
);

DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    GRANT SELECT (ingested_at) ON ai_dialogue_log TO ragledger_ingest;
    GRANT SELECT, INSERT, UPDATE ON rollup_basis, computed_days TO ragledger_ingest;
  END IF;
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    GRANT SELECT ON rollup_basis, computed_days TO ragledger_compliance;
  END IF;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER TABLE rollup_basis OWNER TO ragledger_owner;
    ALTER TABLE computed_days OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON COLUMN ai_dialogue_log.ingested_at IS 'When the row was stored, UTC: the start of the transaction that did; never changed afterwards; NULL for rows from before this column';

COMMENT ON TABLE rollup_basis IS 'What days are computed under: a business time zone and objectives. The one adopted last is in force';
COMMENT ON COLUMN rollup_basis.id IS 'Identity of the basis';
COMMENT ON COLUMN rollup_basis.time_zone IS 'Business time zone, by its IANA name';
COMMENT ON COLUMN rollup_basis.objectives IS 'JSONB array of the objectives, each with name, figure, operator, target';
COMMENT ON COLUMN rollup_basis.adopted_at IS 'When a replica that started last put it in force; NULL: only commands have computed under it';
COMMENT ON COLUMN rollup_basis.adopted_by IS 'Process that put it in force last, for people to read';
COMMENT ON COLUMN rollup_basis.created_at IS 'When it was first used';

COMMENT ON TABLE computed_days IS 'What each row of rag_metrics_history was computed under, and the figure of the day that has no column there';
COMMENT ON COLUMN computed_days.day IS 'Day, as in DATE(rag_metrics_history.date)';
COMMENT ON COLUMN computed_days.basis_id IS 'The rollup_basis that the day was computed and judged under';
COMMENT ON COLUMN computed_days.left_under IS 'A rollup_basis in another time zone under which the day was not computed anew, because its dialogues were no longer all there; NULL: none';
COMMENT ON COLUMN computed_days.ingest_delay_p95 IS '95th percentile of ingested_at - created_at over the dialogues of the day, in seconds; NULL where none has both';

COMMIT;
