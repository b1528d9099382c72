-- Rollback of 0022_add_ids_and_costs. Lost: how costs came about, and under which namespace users were erased. What was
-- converted or computed stays in token_cost_jpy. Refuses while users were erased under a namespace or sources of costs are
-- recorded, unless ragledger.delete_data is on (PGOPTIONS=-cragledger.delete_data=on).
-- squawk-ignore-file ban-drop-function, ban-drop-table, ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  is_known boolean;
  costs bigint;
BEGIN
  IF current_setting('ragledger.delete_data', true) = 'on' THEN
    RETURN;
  END IF;
  IF EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('erasure_version') AND attname = 'namespace_hash' AND NOT attisdropped
  ) THEN
    SELECT bool_or(namespace_hash IS NOT NULL) INTO is_known FROM erasure_version;
    IF is_known THEN
      RAISE EXCEPTION 'users were erased under a namespace of string ids'
        USING ERRCODE = 'object_in_use',
              HINT = 'Without its hash, a service with another namespace would store them again. Keep 0022, or delete the hash with `ragledger migrate down --delete-data`.';
    END IF;
  END IF;
  IF to_regclass('dialogue_costs') IS NOT NULL THEN
    SELECT count(*) INTO costs FROM dialogue_costs;
    IF costs > 0 THEN
      RAISE EXCEPTION 'the source of % costs is recorded', costs
        USING ERRCODE = 'object_in_use',
              HINT = 'No topic contains how a cost was computed. Keep 0022, or delete the sources with `ragledger migrate down --delete-data`.';
    END IF;
  END IF;
END
$$;

-- As 0008 has it.
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
      RETURN NULL;
    END
    $function$;
    EXECUTE format(
      'ALTER FUNCTION mark_days_of_deleted_dialogues() SET search_path = pg_catalog, %I, pg_temp', current_schema()
    );
  END IF;
  IF to_regrole('ragledger_ingest') IS NOT NULL AND EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('ai_dialogue_log') AND attname = 'token_cost_jpy' AND NOT attisdropped
  ) THEN
    REVOKE SELECT (model_used), UPDATE (token_cost_jpy) ON ai_dialogue_log FROM ragledger_ingest;
  END IF;
END
$rollback$;

ALTER TABLE IF EXISTS erasure_version DROP COLUMN IF EXISTS namespace_hash;
DROP TABLE IF EXISTS dialogue_costs;
DROP TABLE IF EXISTS price_versions;
DROP FUNCTION IF EXISTS session_id_of(UUID, TEXT);
DROP FUNCTION IF EXISTS user_id_of(UUID, TEXT);
DROP FUNCTION IF EXISTS named_uuid(UUID, TEXT);
COMMIT;
