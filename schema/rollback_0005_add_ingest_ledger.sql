-- Rollback of 0005_add_ingest_ledger.
-- WARNING: this forgets how far every partition is read, and deletes every dead letter, open ones included.
-- Stop every ragledger first; afterwards reading starts where the consumer group's Kafka offsets or the reset policy say.
-- squawk-ignore-file ban-drop-table

BEGIN;
SET LOCAL lock_timeout = '5s';
DROP TABLE IF EXISTS touched_days;
DROP TABLE IF EXISTS dead_letters;
DROP TABLE IF EXISTS ingest_ledger;
COMMIT;
