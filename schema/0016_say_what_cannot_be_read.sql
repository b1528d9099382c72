-- 0016_say_what_cannot_be_read: a stop says in numbers which offsets cannot be read, and where to go on, so that what can
-- be read is not given up with them; a decision says how many readable offsets it has given up.
--
-- Columns without a default change the catalog only. A stop from before is settled with `--from here`, where the ledger
-- stands, unless it says otherwise: what cannot be read is then found again, and said in numbers.

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE ingest_ledger
  ADD COLUMN IF NOT EXISTS resume_from TEXT,
  ADD COLUMN IF NOT EXISTS unreadable_from BIGINT,
  ADD COLUMN IF NOT EXISTS unreadable_until BIGINT,
  ADD COLUMN IF NOT EXISTS diverges_at BIGINT;

ALTER TABLE ledger_decisions ADD COLUMN IF NOT EXISTS given_up BIGINT;

UPDATE ingest_ledger
SET resume_from = 'here'
WHERE stopped_because ~ '--from (here|[0-9]+) ' AND resume_from IS NULL;

-- Without this role there is nobody to grant anything to.
DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    GRANT UPDATE (resume_from, unreadable_from, unreadable_until, diverges_at) ON ingest_ledger TO ragledger_ingest;
  END IF;
END
$$;

COMMENT ON COLUMN ingest_ledger.resume_from IS 'Where the advised command goes on: earliest, here, or an offset; NULL: it is read, or a version before 0016 has stopped it';
COMMENT ON COLUMN ingest_ledger.unreadable_from IS 'First offset that cannot be read; NULL: the stop is about something else, or there is none';
COMMENT ON COLUMN ingest_ledger.unreadable_until IS 'The offset behind the last one that cannot be read';
COMMENT ON COLUMN ingest_ledger.diverges_at IS 'From this offset on the topic may hold other records than those that were read; NULL: there is none';
COMMENT ON COLUMN ledger_decisions.given_up IS 'Offsets that could be read, and that the decision gave up by name; NULL: a version before 0016 decided';

COMMIT;
