-- 0025_add_rollup_buckets: sums of the dialogues of each quarter of an hour, so that a roll-up reads only what has changed.
--
-- A mark may name the bucket that has changed; a mark without one stands for the whole day, as replicas of
-- older versions write it. If such a replica computes a day, the sums of the day are no longer used, because computed_at
-- differs. See docs/adr/0078-buckets-of-a-day.md.
--
-- Only roles that may delete marks may use rollup_buckets, because it holds ids of users.
-- touched_days is small, so checking its new constraint takes no time.
-- squawk-ignore-file constraint-missing-not-valid, ban-drop-constraint

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE touched_days ADD COLUMN IF NOT EXISTS bucket TIMESTAMP;
ALTER TABLE touched_days
  DROP CONSTRAINT IF EXISTS touched_days_bucket_check,
  ADD CONSTRAINT touched_days_bucket_check CHECK (bucket = date_bin('15 minutes', bucket, '2000-01-01'));

CREATE TABLE IF NOT EXISTS rollup_buckets (
  begins_at TIMESTAMP NOT NULL,
  ends_at TIMESTAMP NOT NULL,
  dialogues INTEGER NOT NULL,
  cited_dialogues INTEGER NOT NULL,
  citations BIGINT NOT NULL,
  cost_jpy NUMERIC NOT NULL,
  costs INTEGER NOT NULL,
  prompt_tokens BIGINT NOT NULL,
  completion_tokens BIGINT NOT NULL,
  total_tokens BIGINT NOT NULL,
  relevance NUMERIC NOT NULL,
  relevances INTEGER NOT NULL,
  feedback_positive INTEGER NOT NULL,
  feedback_neutral INTEGER NOT NULL,
  feedback_negative INTEGER NOT NULL,
  latencies INTEGER[] NOT NULL,
  latency_counts INTEGER[] NOT NULL,
  ingest_delays BIGINT[] NOT NULL,
  ingest_delay_counts INTEGER[] NOT NULL,
  unique_users INTEGER NOT NULL,
  users UUID[],
  day DATE,
  computed_at TIMESTAMP NOT NULL,
  CONSTRAINT rollup_buckets_pkey PRIMARY KEY (begins_at, ends_at)
);
-- Random ids cannot be compressed, so PostgreSQL need not try.
ALTER TABLE rollup_buckets ALTER COLUMN users SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS idx_rollup_buckets_day ON rollup_buckets (day) WHERE day IS NOT NULL;

-- The function of 0022, which now also deletes the buckets of the deleted dialogues, because they name users. If a roll-up
-- is writing a bucket, the function skips it. The mark for the whole day makes the next roll-up delete it.
CREATE OR REPLACE FUNCTION mark_days_of_deleted_dialogues() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $function$
BEGIN
  INSERT INTO touched_days (day)
  SELECT DISTINCT gone.day + shift
  FROM (SELECT DISTINCT DATE(created_at) AS day FROM deleted_dialogues) AS gone, generate_series(-1, 1) AS shift
  WHERE EXISTS (SELECT FROM rag_metrics_history AS history WHERE DATE(history.date) = gone.day + shift)
     OR EXISTS (SELECT FROM touched_days AS marked WHERE marked.day = gone.day + shift);
  DELETE FROM rollup_buckets
  WHERE (begins_at, ends_at) IN (
    SELECT begins_at, ends_at
    FROM rollup_buckets
    WHERE EXISTS (SELECT FROM deleted_dialogues WHERE created_at >= begins_at AND created_at < ends_at)
    FOR UPDATE SKIP LOCKED
  );
  DELETE FROM dialogue_costs USING deleted_dialogues WHERE dialogue_costs.dialogue_id = deleted_dialogues.id;
  RETURN NULL;
END
$function$;

DO $$
DECLARE
  roll_up_role regrole;
BEGIN
  -- The function runs with its owner's rights: the caller's search path must not lead it to other tables.
  EXECUTE format(
    'ALTER FUNCTION mark_days_of_deleted_dialogues() SET search_path = pg_catalog, %I, pg_temp', current_schema()
  );
  -- Roles that roll up: ragledger_ingest, and roles of your own.
  FOR roll_up_role IN
    SELECT DISTINCT grantee::regrole
    FROM pg_class, aclexplode(relacl)
    WHERE pg_class.oid = 'touched_days'::regclass AND privilege_type = 'DELETE' AND grantee NOT IN (0, relowner)
  LOOP
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON rollup_buckets TO %s', roll_up_role);
  END LOOP;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER TABLE rollup_buckets OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON COLUMN touched_days.bucket IS 'Start of the quarter of an hour whose rows have changed, UTC; NULL: any row of the day may have changed';

COMMENT ON TABLE rollup_buckets IS 'Sums of the dialogues of a quarter of an hour or of a day, for days with many dialogues. The roll-up can compute all of it again from the rows';
COMMENT ON COLUMN rollup_buckets.begins_at IS 'First moment, UTC';
COMMENT ON COLUMN rollup_buckets.ends_at IS 'The moment after the last one, UTC: 15 minutes later, or the end of the day in the business time zone';
COMMENT ON COLUMN rollup_buckets.dialogues IS 'Number of dialogues';
COMMENT ON COLUMN rollup_buckets.cited_dialogues IS 'Number of dialogues with at least one citation';
COMMENT ON COLUMN rollup_buckets.citations IS 'Number of citations';
COMMENT ON COLUMN rollup_buckets.cost_jpy IS 'Sum of token_cost_jpy';
COMMENT ON COLUMN rollup_buckets.costs IS 'Number of dialogues with a token_cost_jpy';
COMMENT ON COLUMN rollup_buckets.prompt_tokens IS 'Sum of prompt_tokens';
COMMENT ON COLUMN rollup_buckets.completion_tokens IS 'Sum of completion_tokens';
COMMENT ON COLUMN rollup_buckets.total_tokens IS 'Sum of total_tokens';
COMMENT ON COLUMN rollup_buckets.relevance IS 'Sum of relevance_score';
COMMENT ON COLUMN rollup_buckets.relevances IS 'Number of dialogues with a relevance_score';
COMMENT ON COLUMN rollup_buckets.feedback_positive IS 'Number of dialogues with the feedback 1';
COMMENT ON COLUMN rollup_buckets.feedback_neutral IS 'Number of dialogues with the feedback 0';
COMMENT ON COLUMN rollup_buckets.feedback_negative IS 'Number of dialogues with the feedback -1';
COMMENT ON COLUMN rollup_buckets.latencies IS 'The different values of latency_ms, ascending';
COMMENT ON COLUMN rollup_buckets.latency_counts IS 'Number of dialogues with each of the latencies, in the same order';
COMMENT ON COLUMN rollup_buckets.ingest_delays IS 'The different delays from created_at to ingested_at, in milliseconds, ascending; below 10 s rounded to milliseconds, below 10,000 s to seconds, otherwise to minutes';
COMMENT ON COLUMN rollup_buckets.ingest_delay_counts IS 'Number of dialogues with each of the ingest_delays, in the same order';
COMMENT ON COLUMN rollup_buckets.unique_users IS 'Number of different users';
COMMENT ON COLUMN rollup_buckets.users IS 'The users of a quarter of an hour; NULL for a day';
COMMENT ON COLUMN rollup_buckets.day IS 'The day in the business time zone; NULL for a quarter of an hour';
COMMENT ON COLUMN rollup_buckets.computed_at IS 'When this was computed, UTC. The sums of a day are valid if this is the computed_at of the day in rag_metrics_history';
COMMENT ON COLUMN computed_days.ingest_delay_p95 IS '95th percentile of ingested_at - created_at over the dialogues of the day, in seconds; each delay is rounded: below 10 s to milliseconds, below 10,000 s to seconds, otherwise to minutes. NULL where none has both';

COMMIT;
