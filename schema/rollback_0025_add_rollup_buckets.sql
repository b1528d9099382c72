-- Rollback of 0025_add_rollup_buckets.
-- Nothing is lost: the sums can be computed from the rows. Marks of buckets become marks of their days.
-- squawk-ignore-file ban-drop-column, ban-drop-table

BEGIN;
SET LOCAL lock_timeout = '5s';

-- As 0022 has it.
DO $rollback$
BEGIN
  IF to_regprocedure('mark_days_of_deleted_dialogues()') IS NOT NULL THEN
    CREATE OR REPLACE FUNCTION mark_days_of_deleted_dialogues() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER AS $function$
    BEGIN
      INSERT INTO touched_days (day)
      SELECT DISTINCT gone.day + shift
      FROM (SELECT DISTINCT DATE(created_at) AS day FROM deleted_dialogues) AS gone, generate_series(-1, 1) AS shift
      WHERE EXISTS (SELECT FROM rag_metrics_history AS history WHERE DATE(history.date) = gone.day + shift)
         OR EXISTS (SELECT FROM touched_days AS marked WHERE marked.day = gone.day + shift);
      DELETE FROM dialogue_costs USING deleted_dialogues WHERE dialogue_costs.dialogue_id = deleted_dialogues.id;
      RETURN NULL;
    END
    $function$;
    EXECUTE format(
      'ALTER FUNCTION mark_days_of_deleted_dialogues() SET search_path = pg_catalog, %I, pg_temp', current_schema()
    );
  END IF;
END
$rollback$;

DROP TABLE IF EXISTS rollup_buckets;
ALTER TABLE IF EXISTS touched_days DROP COLUMN IF EXISTS bucket;
DO $$
BEGIN
  IF to_regclass('computed_days') IS NOT NULL THEN
    COMMENT ON COLUMN computed_days.ingest_delay_p95 IS '95th percentile of ingested_at - created_at over the dialogues of the day, in seconds; NULL where none has both';
  END IF;
END
$$;
COMMIT;
