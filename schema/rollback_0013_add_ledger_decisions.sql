-- Rollback of 0013_add_ledger_decisions.
-- WARNING: this deletes the record of every decision, and forgets which partitions have stopped and for which topic the
-- ledger answers. Stop every ragledger first.
-- squawk-ignore-file ban-drop-table, ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';
DROP TABLE IF EXISTS ledger_decisions;
ALTER TABLE IF EXISTS ingest_ledger
  DROP COLUMN IF EXISTS stopped_because,
  DROP COLUMN IF EXISTS stopped_at,
  DROP COLUMN IF EXISTS topic_id;
COMMIT;
