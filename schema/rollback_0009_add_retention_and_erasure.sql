-- Rollback of 0009_add_retention_and_erasure.
-- WARNING: this deletes the provenance that retention has archived, the notices that wait, and the memory of who was
-- erased: a topic that is read again brings erased users back. Keep a copy of erased_users, erasures and
-- retention_archive, or publish, restore and export first. Refuses while there is any, unless ragledger.delete_data is on
-- (PGOPTIONS=-cragledger.delete_data=on).
-- squawk-ignore-file ban-drop-table, ban-drop-function

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  erased bigint;
  archived bigint;
  waiting bigint;
BEGIN
  IF to_regclass('erased_users') IS NULL OR current_setting('ragledger.delete_data', true) = 'on' THEN
    RETURN;
  END IF;
  SELECT count(*) INTO erased FROM erased_users;
  SELECT count(*) INTO archived FROM retention_archive;
  SELECT count(*) INTO waiting FROM retention_notices WHERE published_at IS NULL;
  IF erased + archived + waiting > 0 THEN
    RAISE EXCEPTION '% users were erased, % rows of provenance are archived, % notices wait', erased, archived, waiting
      USING ERRCODE = 'object_in_use', HINT = 'Erased users would come back when a topic is read again. Keep 0009, or delete all of it with `ragledger migrate down --delete-data`.';
  END IF;
END
$$;

DROP TABLE IF EXISTS erasures;
DROP TABLE IF EXISTS erased_users;
DROP TABLE IF EXISTS erasure_version;
DROP TABLE IF EXISTS retention_notices;
DROP TABLE IF EXISTS retention_archive;
DROP TABLE IF EXISTS retention_runs;
DROP FUNCTION IF EXISTS raise_erasure_version();
DROP FUNCTION IF EXISTS is_on_legal_hold(JSONB);
DROP FUNCTION IF EXISTS retention_ends_at(TIMESTAMP, INTEGER);
COMMIT;
