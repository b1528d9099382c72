-- 0017_keep_leader_epochs: the ledger keeps under which leader epoch the log is known to hold what was read, so that a log
-- that was cut off and has grown again is told from the one that was read.
--
-- Columns without a default change the catalog only. What was read before is not known to be in the log: the next claim
-- takes it for what it is, and from then on every one compares.

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE ingest_ledger
  ADD COLUMN IF NOT EXISTS leader_epoch INTEGER,
  ADD COLUMN IF NOT EXISTS leader_epoch_at BIGINT;

-- Without this role there is nobody to grant anything to.
DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    GRANT UPDATE (leader_epoch, leader_epoch_at) ON ingest_ledger TO ragledger_ingest;
  END IF;
END
$$;

COMMENT ON COLUMN ingest_ledger.leader_epoch IS 'Newest leader epoch under which Kafka''s log of the partition is known to hold what was read; NULL: not known';
COMMENT ON COLUMN ingest_ledger.leader_epoch_at IS 'next_offset when leader_epoch was noted; where the two differ, a version before 0017 has read on since, and leader_epoch says nothing';

COMMIT;
