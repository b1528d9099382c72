-- 0009_add_retention_and_erasure: what retention takes out of provenance and whom it has to tell, and who was erased.
--
-- New tables and functions only; no table in use is touched.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- acquired_at + retention_years, and NULL beyond the year 9999: nobody waits for that, clients cannot read it, and an
-- interval of 2,147,483,647 years, which an event may state, is out of PostgreSQL's range.
CREATE OR REPLACE FUNCTION retention_ends_at(acquired_at TIMESTAMP, retention_years INTEGER) RETURNS TIMESTAMP
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN retention_years < 10000 - extract(year FROM acquired_at) THEN acquired_at + make_interval(years => retention_years)
END;

-- Anything but false and null holds, such as {"legal_hold": {"matter": "2026-17"}}: what was deleted by mistake is gone.
CREATE OR REPLACE FUNCTION is_on_legal_hold(access_policy JSONB) RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(access_policy -> 'legal_hold', 'false'::jsonb) NOT IN ('false'::jsonb, 'null'::jsonb);

CREATE TABLE IF NOT EXISTS retention_runs (
  id UUID CONSTRAINT retention_runs_pkey PRIMARY KEY,
  begun_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  ended_at TIMESTAMPTZ
);

-- Whoever is killed leaves an open run, and the next one goes on with it: one notice per owner, not two.
CREATE UNIQUE INDEX IF NOT EXISTS idx_retention_runs_open ON retention_runs ((ended_at IS NULL)) WHERE ended_at IS NULL;

-- The whole row as jsonb: it keeps columns that the application has added, and is put back as it was.
CREATE TABLE IF NOT EXISTS retention_archive (
  id UUID CONSTRAINT retention_archive_pkey PRIMARY KEY,
  run_id UUID NOT NULL,
  retention_ended_at TIMESTAMP NOT NULL,
  archived_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  provenance JSONB NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_retention_archive_run ON retention_archive (run_id);
CREATE INDEX IF NOT EXISTS idx_retention_archive_source ON retention_archive ((provenance ->> 'source_uri'));

CREATE TABLE IF NOT EXISTS retention_notices (
  id UUID DEFAULT gen_random_uuid() CONSTRAINT retention_notices_pkey PRIMARY KEY,
  run_id UUID NOT NULL,
  owner UUID,
  notice JSONB NOT NULL,
  created_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  sent_from JSONB,
  published_at TIMESTAMPTZ
);

CREATE INDEX IF NOT EXISTS idx_retention_notices_waiting ON retention_notices (created_at, id) WHERE published_at IS NULL;

CREATE TABLE IF NOT EXISTS erased_users (
  user_hash BYTEA CONSTRAINT erased_users_pkey PRIMARY KEY
    CONSTRAINT erased_users_hash_check CHECK (octet_length(user_hash) = 32),
  key_id TEXT NOT NULL,
  erased_at TIMESTAMPTZ DEFAULT now() NOT NULL
);

-- One row. Every flush locks it FOR SHARE just before it commits, an erasure updates it: whichever comes second sees the
-- other. See docs/adr/0037-erasure-by-keyed-hash.md.
CREATE TABLE IF NOT EXISTS erasure_version (
  only_row BOOLEAN DEFAULT true CONSTRAINT erasure_version_pkey PRIMARY KEY
    CONSTRAINT erasure_version_one_row CHECK (only_row),
  version BIGINT DEFAULT 0 NOT NULL
);
INSERT INTO erasure_version DEFAULT VALUES ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION raise_erasure_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE erasure_version SET version = version + 1;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER erased_users_raise_version
  AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON erased_users
  FOR EACH STATEMENT EXECUTE FUNCTION raise_erasure_version();

CREATE TABLE IF NOT EXISTS erasures (
  id BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT erasures_pkey PRIMARY KEY,
  user_hash BYTEA NOT NULL,
  key_id TEXT NOT NULL,
  requested_by TEXT NOT NULL,
  reference TEXT,
  begun_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  finished_at TIMESTAMPTZ,
  dialogues BIGINT DEFAULT 0 NOT NULL,
  feedback BIGINT DEFAULT 0 NOT NULL,
  dead_letters BIGINT DEFAULT 0 NOT NULL,
  provenance BIGINT DEFAULT 0 NOT NULL,
  archived_provenance BIGINT DEFAULT 0 NOT NULL,
  notices BIGINT DEFAULT 0 NOT NULL,
  days DATE[] DEFAULT '{}' NOT NULL
);

-- Whoever is killed leaves it open, and the next attempt goes on counting.
CREATE UNIQUE INDEX IF NOT EXISTS idx_erasures_open ON erasures (user_hash) WHERE finished_at IS NULL;

DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    GRANT SELECT ON erased_users TO ragledger_ingest;
    GRANT SELECT, UPDATE (version) ON erasure_version TO ragledger_ingest;
  END IF;
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    GRANT SELECT ON retention_runs, retention_archive, retention_notices, erased_users, erasures TO ragledger_compliance;
  END IF;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER TABLE retention_runs OWNER TO ragledger_owner;
    ALTER TABLE retention_archive OWNER TO ragledger_owner;
    ALTER TABLE retention_notices OWNER TO ragledger_owner;
    ALTER TABLE erased_users OWNER TO ragledger_owner;
    ALTER TABLE erasure_version OWNER TO ragledger_owner;
    ALTER TABLE erasures OWNER TO ragledger_owner;
    ALTER FUNCTION retention_ends_at(TIMESTAMP, INTEGER) OWNER TO ragledger_owner;
    ALTER FUNCTION is_on_legal_hold(JSONB) OWNER TO ragledger_owner;
    ALTER FUNCTION raise_erasure_version() OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON FUNCTION retention_ends_at(TIMESTAMP, INTEGER) IS
  'When the retention of a piece of provenance ends, UTC: acquired_at + retention_years; NULL: never, or after the year 9999';
COMMENT ON FUNCTION is_on_legal_hold(JSONB) IS
  'Whether access_policy has a member legal_hold that is neither false nor null';
COMMENT ON FUNCTION raise_erasure_version() IS
  'Trigger function: tells every writer, before its next commit, that the erased users are others now';

COMMENT ON TABLE retention_runs IS 'Runs of retention: everything that one run archives is told to its owners in one notice each';
COMMENT ON COLUMN retention_runs.id IS 'Identity of the run';
COMMENT ON COLUMN retention_runs.begun_at IS 'When it deleted first';
COMMENT ON COLUMN retention_runs.ended_at IS 'When nothing was left to delete and the notices were written; NULL: still open, the next one goes on with it';

COMMENT ON TABLE retention_archive IS 'Provenance that retention has taken out of its table, in the transaction that deleted it';
COMMENT ON COLUMN retention_archive.id IS 'Identity of the acquisition, as in provenance';
COMMENT ON COLUMN retention_archive.run_id IS 'The run that archived it; retention_runs(id)';
COMMENT ON COLUMN retention_archive.retention_ended_at IS 'When its retention ended, UTC';
COMMENT ON COLUMN retention_archive.archived_at IS 'When it was taken out';
COMMENT ON COLUMN retention_archive.provenance IS 'JSONB object: the whole row as it was, column name to value';

COMMENT ON TABLE retention_notices IS 'Notices to the owners of archived provenance, on their way to Kafka';
COMMENT ON COLUMN retention_notices.id IS 'Identity of the notice, and the id of its CloudEvent: by it a notice that got through is recognised';
COMMENT ON COLUMN retention_notices.run_id IS 'The run it tells of; retention_runs(id)';
COMMENT ON COLUMN retention_notices.owner IS 'Who acquired what was archived; NULL where nobody is known';
COMMENT ON COLUMN retention_notices.notice IS 'JSONB object: the notice as it is published';
COMMENT ON COLUMN retention_notices.created_at IS 'When it was written';
COMMENT ON COLUMN retention_notices.sent_from IS 'JSONB object, written before an attempt: topic to partition to where that then ended; NULL: never attempted';
COMMENT ON COLUMN retention_notices.published_at IS 'When it was known to be in the topic; NULL: not yet';

COMMENT ON TABLE erased_users IS 'Users whose dialogues are not stored again; without their ids';
COMMENT ON COLUMN erased_users.user_hash IS 'HMAC-SHA-256 of the 16 bytes of the user''s id';
COMMENT ON COLUMN erased_users.key_id IS 'Tells which key it was made with, and nothing about the key';
COMMENT ON COLUMN erased_users.erased_at IS 'When the user was erased first';

COMMENT ON TABLE erasure_version IS 'One row: goes up with every change of erased_users, so that writers notice it';
COMMENT ON COLUMN erasure_version.only_row IS 'Always true: there is one row';
COMMENT ON COLUMN erasure_version.version IS 'Number of changes so far';

COMMENT ON TABLE erasures IS 'Every erasure, with what was deleted: what a receipt is made from. Names nobody';
COMMENT ON COLUMN erasures.id IS 'Number of the erasure';
COMMENT ON COLUMN erasures.user_hash IS 'Whom it was about, as in erased_users';
COMMENT ON COLUMN erasures.key_id IS 'Which key the hash was made with';
COMMENT ON COLUMN erasures.requested_by IS 'Who ran it: user and host, and the database role';
COMMENT ON COLUMN erasures.reference IS 'The request it answers, as whoever ran it called it; NULL: not stated';
COMMENT ON COLUMN erasures.begun_at IS 'When it began';
COMMENT ON COLUMN erasures.finished_at IS 'When everything was deleted and computed anew; NULL: under way or killed, to be repeated';
COMMENT ON COLUMN erasures.dialogues IS 'Rows deleted from ai_dialogue_log';
COMMENT ON COLUMN erasures.feedback IS 'Verdicts deleted that waited for these dialogues';
COMMENT ON COLUMN erasures.dead_letters IS 'Dead letters emptied of key, value and headers';
COMMENT ON COLUMN erasures.provenance IS 'Rows of provenance kept without acquired_by';
COMMENT ON COLUMN erasures.archived_provenance IS 'Rows of retention_archive kept without acquired_by';
COMMENT ON COLUMN erasures.notices IS 'Rows of retention_notices kept without owner';
COMMENT ON COLUMN erasures.days IS 'Days whose aggregates had to be computed anew';

COMMIT;
