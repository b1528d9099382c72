-- Rollback of 0013_add_ledger_decisions.
-- WARNING: this deletes the record of every decision, and forgets which partitions have stopped and for which topic the
-- ledger answers. Refuses while there are any, unless ragledger.delete_data is on
-- (PGOPTIONS=-cragledger.delete_data=on). Stop every ragledger first.
-- squawk-ignore-file ban-drop-table, ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  decisions bigint;
  stopped bigint;
BEGIN
  IF to_regclass('ledger_decisions') IS NULL OR current_setting('ragledger.delete_data', true) = 'on' THEN
    RETURN;
  END IF;
  SELECT count(*) INTO decisions FROM ledger_decisions;
  SELECT count(*) INTO stopped FROM ingest_ledger WHERE stopped_at IS NOT NULL;
  IF decisions + stopped > 0 THEN
    RAISE EXCEPTION '% decisions are recorded, % partitions have stopped', decisions, stopped
      USING ERRCODE = 'object_in_use', HINT = 'Without them the ledger cannot be audited, and stopped partitions are read again. Keep 0013, or delete them with `ragledger migrate down --delete-data`.';
  END IF;
END
$$;

DROP TABLE IF EXISTS ledger_decisions;
ALTER TABLE IF EXISTS ingest_ledger
  DROP COLUMN IF EXISTS stopped_because,
  DROP COLUMN IF EXISTS stopped_at,
  DROP COLUMN IF EXISTS topic_id;
COMMIT;
