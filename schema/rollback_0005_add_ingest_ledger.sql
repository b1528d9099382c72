-- Rollback of 0005_add_ingest_ledger.
-- WARNING: this forgets how far every partition is read, and deletes every dead letter, open ones included.
-- Stop every ragledger first; afterwards every partition is read anew from where RAGLEDGER_KAFKA__START_FROM says.
-- squawk-ignore-file ban-drop-table

BEGIN;
SET LOCAL lock_timeout = '5s';
DROP TABLE IF EXISTS touched_days;
DROP TABLE IF EXISTS dead_letters;
DROP TABLE IF EXISTS ingest_ledger;
COMMIT;
