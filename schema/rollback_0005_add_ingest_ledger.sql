-- Rollback of 0005_add_ingest_ledger.
-- WARNING: this forgets how far every partition is read, and deletes every dead letter, open ones included.
-- Refuses while dead letters are open, unless ragledger.delete_data is on (PGOPTIONS=-cragledger.delete_data=on).
-- Stop every ragledger first; afterwards every partition is read anew from where RAGLEDGER_KAFKA__START_FROM says.
-- squawk-ignore-file ban-drop-table

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  still_open bigint;
BEGIN
  IF to_regclass('dead_letters') IS NULL OR current_setting('ragledger.delete_data', true) = 'on' THEN
    RETURN;
  END IF;
  SELECT count(*) INTO still_open FROM dead_letters WHERE replayed_at IS NULL AND discarded_at IS NULL;
  IF still_open > 0 THEN
    RAISE EXCEPTION '% dead letters are open', still_open
      USING ERRCODE = 'object_in_use', HINT = 'Replay or discard them, or delete them with `ragledger migrate down --delete-data`.';
  END IF;
END
$$;

DROP TABLE IF EXISTS touched_days;
DROP TABLE IF EXISTS dead_letters;
DROP TABLE IF EXISTS ingest_ledger;
COMMIT;
