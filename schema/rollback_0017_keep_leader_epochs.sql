-- Rollback of 0017_keep_leader_epochs. Lost: under which leader epochs the logs are known to hold what was read; a log that is
-- cut off and grows again before the next claim is not noticed any more. Stop every ragledger first.
-- squawk-ignore-file ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS ingest_ledger
  DROP COLUMN IF EXISTS leader_epoch_at,
  DROP COLUMN IF EXISTS leader_epoch;
COMMIT;
