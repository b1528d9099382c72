-- Rollback of 0016_say_what_cannot_be_read. Lost: how many readable offsets each decision gave up, and of partitions that
-- have stopped which offsets cannot be read; the sentence that says so stays. Stop every ragledger first.
-- squawk-ignore-file ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS ledger_decisions DROP COLUMN IF EXISTS given_up;
ALTER TABLE IF EXISTS ingest_ledger
  DROP COLUMN IF EXISTS diverges_at,
  DROP COLUMN IF EXISTS unreadable_until,
  DROP COLUMN IF EXISTS unreadable_from,
  DROP COLUMN IF EXISTS resume_from;
COMMIT;
