-- 0023_add_dialogue_retention: how far retention has removed dialogues, and legal holds on dialogues and dead letters.
--
-- dialogue_retention has one row. Its boundary moves before a dialogue is removed, in a transaction that holds the lock of
-- the roll-up: from then on the days before it are final. See docs/adr/0070-expired-dialogues.md.
--
-- A hold on provenance is in its own row (0009). The columns of ai_dialogue_log are the application's, so holds on
-- dialogues have a table. Each transaction of retention takes an advisory lock. A statement that places a hold takes the
-- same lock, so the hold is effective from its commit.
--
-- partition_archives has a row for each archived month, so checking its new constraint takes no time.
-- squawk-ignore-file constraint-missing-not-valid, ban-drop-constraint

BEGIN;
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS dialogue_retention (
  only_row BOOLEAN DEFAULT true CONSTRAINT dialogue_retention_pkey PRIMARY KEY
    CONSTRAINT dialogue_retention_one_row CHECK (only_row),
  expired_before TIMESTAMP DEFAULT '-infinity' NOT NULL,
  swept_before TIMESTAMP DEFAULT '-infinity' NOT NULL,
  moved_at TIMESTAMPTZ
);
INSERT INTO dialogue_retention DEFAULT VALUES ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS legal_holds (
  id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT legal_holds_pkey PRIMARY KEY,
  user_id UUID,
  held_until TIMESTAMPTZ,
  matter TEXT NOT NULL,
  placed_by TEXT DEFAULT session_user NOT NULL,
  placed_at TIMESTAMPTZ DEFAULT now() NOT NULL
);

CREATE OR REPLACE FUNCTION await_retention() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('ragledger retention', 0));
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION await_retention() FROM PUBLIC;
CREATE OR REPLACE TRIGGER legal_holds_await_retention
  BEFORE INSERT OR UPDATE ON legal_holds
  FOR EACH STATEMENT EXECUTE FUNCTION await_retention();

ALTER TABLE partition_archives
  DROP CONSTRAINT IF EXISTS partition_archives_phase_check,
  ADD CONSTRAINT partition_archives_phase_check CHECK (phase IN ('detached', 'exported', 'dropped', 'expired'));

DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    GRANT SELECT ON dialogue_retention TO ragledger_ingest;
  END IF;
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    GRANT SELECT ON dialogue_retention, legal_holds TO ragledger_compliance;
  END IF;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER TABLE dialogue_retention OWNER TO ragledger_owner;
    ALTER TABLE legal_holds OWNER TO ragledger_owner;
    ALTER FUNCTION await_retention() OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON TABLE dialogue_retention IS 'One row: how far retention has removed dialogues';
COMMENT ON COLUMN dialogue_retention.only_row IS 'Always true: there is one row';
COMMENT ON COLUMN dialogue_retention.expired_before IS 'Dialogues before this moment, UTC, are removed unless a legal hold keeps them; the days that begin before it are final. It never moves back';
COMMENT ON COLUMN dialogue_retention.swept_before IS 'Up to here, UTC, what archived months had left in other tables is removed too';
COMMENT ON COLUMN dialogue_retention.moved_at IS 'When expired_before last moved; NULL: never';

COMMENT ON TABLE legal_holds IS 'Legal holds on dialogues and dead letters: retention keeps what a hold covers. Delete the row to release it';
COMMENT ON COLUMN legal_holds.id IS 'Number of the hold';
COMMENT ON COLUMN legal_holds.user_id IS 'User whose dialogues, and the dead letters that name the user, are kept; NULL: those of all users';
COMMENT ON COLUMN legal_holds.held_until IS 'When the hold ends; NULL: when the row is deleted';
COMMENT ON COLUMN legal_holds.matter IS 'The legal matter, for people to read';
COMMENT ON COLUMN legal_holds.placed_by IS 'Login that placed it';
COMMENT ON COLUMN legal_holds.placed_at IS 'When it was placed';

COMMENT ON FUNCTION await_retention() IS 'Trigger function: a hold waits for the transaction of retention that is running, and the next one sees it';

COMMENT ON COLUMN partition_archives.phase IS 'The last step that is done: detached, exported to a file that was read back, dropped. Expired: retention removes the month, without a file';

COMMIT;
