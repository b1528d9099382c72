-- Rollback of 0012_remember_rollup_basis. Lost: when dialogues were stored, and what the days were computed under.
-- The days themselves stay; without 0012 nobody notices that they were computed under other settings. Refuses while a
-- conversion is under way.
-- squawk-ignore-file ban-drop-table, ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
  IF to_regclass('partition_conversions') IS NULL THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM partition_conversions WHERE finished_at IS NULL) THEN
    RAISE EXCEPTION 'ai_dialogue_log is being converted into partitions, and what mirrors it knows ingested_at'
      USING ERRCODE = 'object_in_use', HINT = 'Finish it with `ragledger partition convert`, or take it back with --abort.';
  END IF;
END
$$;

DROP TABLE IF EXISTS computed_days;
DROP TABLE IF EXISTS rollup_basis;
ALTER TABLE IF EXISTS ai_dialogue_log DROP COLUMN IF EXISTS ingested_at;
COMMIT;
