-- Rollback of 0007_add_amendments.
-- WARNING: verdicts and checks that wait for their row are lost, and so is the history of checks. What was written into
-- ai_dialogue_log, provenance and plugin_registry stays. Refuses while some wait, unless ragledger.delete_data is on
-- (PGOPTIONS=-cragledger.delete_data=on).
-- squawk-ignore-file ban-drop-table
-- squawk-ignore-file ban-drop-column
-- squawk-ignore-file ban-drop-constraint
-- squawk-ignore-file ban-drop-function

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  waiting bigint;
BEGIN
  IF to_regclass('kept_feedback') IS NULL OR current_setting('ragledger.delete_data', true) = 'on' THEN
    RETURN;
  END IF;
  SELECT (SELECT count(*) FROM kept_feedback WHERE applied_at IS NULL)
       + (SELECT count(*) FROM kept_verifications WHERE applied_at IS NULL) INTO waiting;
  IF waiting > 0 THEN
    RAISE EXCEPTION '% verdicts and checks wait for their rows', waiting
      USING ERRCODE = 'object_in_use', HINT = 'Let the rows come first, or delete them with `ragledger migrate down --delete-data`.';
  END IF;
END
$$;

ALTER TABLE IF EXISTS plugin_registry DROP CONSTRAINT IF EXISTS plugin_registry_config_check;
ALTER TABLE IF EXISTS plugin_registry DROP COLUMN IF EXISTS reported_at;
DROP FUNCTION IF EXISTS plugin_config_is_valid(JSONB);
DROP TABLE IF EXISTS kept_verifications;
DROP TABLE IF EXISTS kept_feedback;
COMMIT;
