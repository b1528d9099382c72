-- 0005_add_ingest_ledger: the books. How far each partition is read, what became of every record, what could not be
-- stored, and which days have to be computed again. All of it is written in the transaction that writes the rows.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Every flush updates a row per partition: room on the page keeps these updates heap-only, without new index entries.
CREATE TABLE IF NOT EXISTS ingest_ledger (
  consumer_group TEXT NOT NULL,
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  start_offset BIGINT NOT NULL,
  next_offset BIGINT NOT NULL,
  inserted BIGINT DEFAULT 0 NOT NULL,
  duplicates BIGINT DEFAULT 0 NOT NULL,
  amended BIGINT DEFAULT 0 NOT NULL,
  dead_lettered BIGINT DEFAULT 0 NOT NULL,
  gaps BIGINT DEFAULT 0 NOT NULL,
  epoch BIGINT DEFAULT 0 NOT NULL,
  owner TEXT,
  updated_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  CONSTRAINT ingest_ledger_pkey PRIMARY KEY (consumer_group, topic, partition),
  CONSTRAINT ingest_ledger_balanced
    CHECK (next_offset - start_offset = inserted + duplicates + amended + dead_lettered + gaps),
  CONSTRAINT ingest_ledger_not_negative CHECK (
    partition >= 0 AND start_offset >= 0 AND epoch >= 0
    AND inserted >= 0 AND duplicates >= 0 AND amended >= 0 AND dead_lettered >= 0 AND gaps >= 0
  )
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS dead_letters (
  id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT dead_letters_pkey PRIMARY KEY,
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  record_offset BIGINT NOT NULL,
  record_timestamp TIMESTAMPTZ NOT NULL,
  key BYTEA,
  value BYTEA,
  headers JSONB DEFAULT '[]' NOT NULL,
  reason TEXT NOT NULL,
  detail JSONB DEFAULT '{}' NOT NULL,
  sqlstate TEXT CONSTRAINT dead_letters_sqlstate_check CHECK (sqlstate ~ '^[0-9A-Z]{5}$'),
  dead_lettered_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  replayed_at TIMESTAMPTZ,
  discarded_at TIMESTAMPTZ,
  CONSTRAINT dead_letters_record_key UNIQUE (topic, partition, record_offset, record_timestamp),
  CONSTRAINT dead_letters_settled_once CHECK (replayed_at IS NULL OR discarded_at IS NULL)
);

CREATE INDEX IF NOT EXISTS idx_dead_letters_open ON dead_letters (dead_lettered_at)
WHERE replayed_at IS NULL AND discarded_at IS NULL;

CREATE TABLE IF NOT EXISTS touched_days (
  id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT touched_days_pkey PRIMARY KEY,
  day DATE NOT NULL,
  touched_at TIMESTAMPTZ DEFAULT now() NOT NULL
);

COMMENT ON TABLE ingest_ledger IS 'Per partition of a topic: where reading resumes, and what became of every record before that';
COMMENT ON COLUMN ingest_ledger.consumer_group IS 'Kafka consumer group that reads the partition';
COMMENT ON COLUMN ingest_ledger.topic IS 'Kafka topic';
COMMENT ON COLUMN ingest_ledger.partition IS 'Partition of the topic';
COMMENT ON COLUMN ingest_ledger.start_offset IS 'First offset this ledger answers for';
COMMENT ON COLUMN ingest_ledger.next_offset IS 'Offset to read next: everything below is accounted for';
COMMENT ON COLUMN ingest_ledger.inserted IS 'Records that became a new row';
COMMENT ON COLUMN ingest_ledger.duplicates IS 'Records whose row was already there';
COMMENT ON COLUMN ingest_ledger.amended IS 'Records taken as a change to a row, or as a plugin''s report';
COMMENT ON COLUMN ingest_ledger.dead_lettered IS 'Records kept in dead_letters when they were first read; a later replay does not change it';
COMMENT ON COLUMN ingest_ledger.gaps IS 'Offsets that hold no record for us: transaction markers, aborted or compacted records';
COMMENT ON COLUMN ingest_ledger.epoch IS 'Grows with every claim; a write with an older epoch is refused';
COMMENT ON COLUMN ingest_ledger.owner IS 'Process that holds the partition, for people to read';
COMMENT ON COLUMN ingest_ledger.updated_at IS 'When the row was last written';
COMMENT ON CONSTRAINT ingest_ledger_balanced ON ingest_ledger IS 'Every offset read is accounted for exactly once, in any committed state';
COMMENT ON CONSTRAINT ingest_ledger_not_negative ON ingest_ledger IS 'Counts and offsets only grow from zero';

COMMENT ON TABLE dead_letters IS 'Records that could not be stored as they were meant, with their original bytes and why';
COMMENT ON COLUMN dead_letters.id IS 'A number short enough to type';
COMMENT ON COLUMN dead_letters.topic IS 'Kafka topic the record came from';
COMMENT ON COLUMN dead_letters.partition IS 'Partition of the topic';
COMMENT ON COLUMN dead_letters.record_offset IS 'Offset of the record';
COMMENT ON COLUMN dead_letters.record_timestamp IS 'Timestamp of the record; tells it from one at the same offset of a topic made anew';
COMMENT ON COLUMN dead_letters.key IS 'Key of the record, byte for byte; NULL where it has none';
COMMENT ON COLUMN dead_letters.value IS 'Value of the record, byte for byte; NULL for a tombstone';
COMMENT ON COLUMN dead_letters.headers IS 'JSONB array of the record''s headers in order, each {"key": text, "value": base64 or null}';
COMMENT ON COLUMN dead_letters.reason IS 'Kind of failure, from a bounded list';
COMMENT ON COLUMN dead_letters.detail IS 'JSONB object that says what was wrong where, such as the path of each field; {} where there is no more to say';
COMMENT ON COLUMN dead_letters.sqlstate IS 'SQLSTATE where the database refused the value; NULL otherwise';
COMMENT ON COLUMN dead_letters.dead_lettered_at IS 'When it was put here';
COMMENT ON COLUMN dead_letters.replayed_at IS 'When a replay stored it after all; NULL: not yet';
COMMENT ON COLUMN dead_letters.discarded_at IS 'When somebody decided to let it go; NULL: not decided';
COMMENT ON CONSTRAINT dead_letters_record_key ON dead_letters IS 'Reading a record again cannot make a second dead letter of it';
COMMENT ON CONSTRAINT dead_letters_settled_once ON dead_letters IS 'A dead letter is open, replayed or discarded';

COMMENT ON TABLE touched_days IS 'Days whose aggregates are stale: append-only marks, deleted by the roll-up that used them';
COMMENT ON COLUMN touched_days.id IS 'Identity of the mark';
COMMENT ON COLUMN touched_days.day IS 'Day in the business time zone; not unique on purpose, so that writers wait neither for each other nor for the roll-up';
COMMENT ON COLUMN touched_days.touched_at IS 'When the mark was made';

COMMIT;
