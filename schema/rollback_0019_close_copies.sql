-- Rollback of 0019_close_copies. Lost: where archives lie, and which notices had named an erased user. The functions of a
-- conversion under way stay closed.
-- squawk-ignore-file ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';
DO $$
BEGIN
  IF to_regprocedure('raise_erasure_version()') IS NOT NULL THEN
    ALTER FUNCTION raise_erasure_version() RESET search_path;
    GRANT EXECUTE ON FUNCTION raise_erasure_version() TO PUBLIC;
  END IF;
  IF to_regprocedure('dialogue_partitions(regclass)') IS NOT NULL THEN
    GRANT EXECUTE ON FUNCTION dialogue_partitions(regclass) TO PUBLIC;
  END IF;
END
$$;
ALTER TABLE IF EXISTS partition_archives DROP COLUMN IF EXISTS directory;
ALTER TABLE IF EXISTS erasures DROP COLUMN IF EXISTS sent_notices;
COMMIT;
