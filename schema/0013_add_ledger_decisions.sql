-- 0013_add_ledger_decisions: which topic the ledger answers for, partitions that have stopped, and what people decided.
--
-- A partition stops where reading on in silence would hide a loss. That it has stopped stands in the ledger, so that no
-- restart forgets it; what a person decides stands in ledger_decisions with the books as they were, so that the audit
-- still adds up. Columns without a default change the catalog only.

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE ingest_ledger
  ADD COLUMN IF NOT EXISTS topic_id UUID,
  ADD COLUMN IF NOT EXISTS stopped_at TIMESTAMPTZ,
  ADD COLUMN IF NOT EXISTS stopped_because TEXT;

CREATE TABLE IF NOT EXISTS ledger_decisions (
  id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT ledger_decisions_pkey PRIMARY KEY,
  consumer_group TEXT NOT NULL,
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  decided_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  decided_by TEXT NOT NULL,
  reason TEXT,
  problem TEXT,
  from_offset BIGINT NOT NULL,
  to_offset BIGINT NOT NULL,
  begins_anew BOOLEAN NOT NULL,
  start_offset BIGINT NOT NULL,
  inserted BIGINT NOT NULL,
  duplicates BIGINT NOT NULL,
  amended BIGINT NOT NULL,
  dead_lettered BIGINT NOT NULL,
  gaps BIGINT NOT NULL,
  topic_id_before UUID,
  topic_id_after UUID,
  CONSTRAINT ledger_decisions_balanced
    CHECK (from_offset - start_offset = inserted + duplicates + amended + dead_lettered + gaps),
  CONSTRAINT ledger_decisions_skip_forward CHECK (begins_anew OR to_offset >= from_offset)
);

CREATE INDEX IF NOT EXISTS idx_ledger_decisions_partition ON ledger_decisions (consumer_group, topic, partition, id);

-- Without these roles there is nobody to grant anything to.
DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    GRANT UPDATE (start_offset, topic_id, stopped_at, stopped_because) ON ingest_ledger TO ragledger_ingest;
    GRANT SELECT, INSERT ON ledger_decisions TO ragledger_ingest;
  END IF;
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    GRANT SELECT ON ledger_decisions TO ragledger_compliance;
  END IF;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER TABLE ledger_decisions OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON COLUMN ingest_ledger.topic_id IS 'Kafka''s id of the topic that this row answers for, which tells it from one made anew; NULL: no broker has told';
COMMENT ON COLUMN ingest_ledger.stopped_at IS 'Since when the partition waits for a person to decide; NULL: it is read';
COMMENT ON COLUMN ingest_ledger.stopped_because IS 'Why it cannot be read on; NULL: it is read';

COMMENT ON TABLE ledger_decisions IS 'Where people let reading go on, with the books of the partition as they stood; append-only';
COMMENT ON COLUMN ledger_decisions.id IS 'Identity; grows in the order of the decisions';
COMMENT ON COLUMN ledger_decisions.consumer_group IS 'Kafka consumer group that reads the partition';
COMMENT ON COLUMN ledger_decisions.topic IS 'Kafka topic';
COMMENT ON COLUMN ledger_decisions.partition IS 'Partition of the topic';
COMMENT ON COLUMN ledger_decisions.decided_at IS 'When it was decided';
COMMENT ON COLUMN ledger_decisions.decided_by IS 'Who decided: user, host and database role';
COMMENT ON COLUMN ledger_decisions.reason IS 'Why, in the words of who decided; NULL: not said';
COMMENT ON COLUMN ledger_decisions.problem IS 'Why the partition had stopped; NULL: it had not';
COMMENT ON COLUMN ledger_decisions.from_offset IS 'next_offset of the ledger before';
COMMENT ON COLUMN ledger_decisions.to_offset IS 'next_offset of the ledger afterwards';
COMMENT ON COLUMN ledger_decisions.begins_anew IS 'Whether the books were closed and new ones begun at to_offset; else the offsets skipped were booked as gaps';
COMMENT ON COLUMN ledger_decisions.start_offset IS 'start_offset of the ledger before';
COMMENT ON COLUMN ledger_decisions.inserted IS 'inserted of the ledger before';
COMMENT ON COLUMN ledger_decisions.duplicates IS 'duplicates of the ledger before';
COMMENT ON COLUMN ledger_decisions.amended IS 'amended of the ledger before';
COMMENT ON COLUMN ledger_decisions.dead_lettered IS 'dead_lettered of the ledger before';
COMMENT ON COLUMN ledger_decisions.gaps IS 'gaps of the ledger before';
COMMENT ON COLUMN ledger_decisions.topic_id_before IS 'topic_id of the ledger before';
COMMENT ON COLUMN ledger_decisions.topic_id_after IS 'topic_id of the ledger afterwards';
COMMENT ON CONSTRAINT ledger_decisions_balanced ON ledger_decisions IS 'Books that were closed add up as those that are open do';
COMMENT ON CONSTRAINT ledger_decisions_skip_forward ON ledger_decisions IS 'Whoever goes back begins new books: what was counted once is not counted twice in them';

COMMIT;
