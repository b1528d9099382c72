-- Rollback of 0023_add_dialogue_retention.
-- WARNING: legal holds are deleted, and it is forgotten which days are final: if a dialogue of such a day comes back, the
-- day is computed from it alone. Months that retention has removed count as archived. Refuses while a legal hold is in
-- force or dialogues were removed, unless ragledger.delete_data is on (PGOPTIONS=-cragledger.delete_data=on).
-- squawk-ignore-file ban-drop-function, ban-drop-table, constraint-missing-not-valid, ban-drop-constraint

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  holds bigint;
  boundary timestamp;
BEGIN
  IF to_regclass('legal_holds') IS NULL OR current_setting('ragledger.delete_data', true) = 'on' THEN
    RETURN;
  END IF;
  SELECT count(*) INTO holds FROM legal_holds WHERE held_until IS NULL OR held_until > now();
  IF holds > 0 THEN
    RAISE EXCEPTION '% legal holds are in force', holds
      USING ERRCODE = 'object_in_use', HINT = 'Release them, or delete them with `ragledger migrate down --delete-data`.';
  END IF;
  SELECT expired_before INTO boundary FROM dialogue_retention;
  IF boundary > '-infinity' THEN
    RAISE EXCEPTION 'dialogues before % were removed by retention', boundary
      USING ERRCODE = 'object_in_use', HINT = 'Without the boundary their days could be computed from what is left. Keep 0023, or delete it with `ragledger migrate down --delete-data`.';
  END IF;
END
$$;

DO $$
BEGIN
  IF to_regclass('partition_archives') IS NOT NULL THEN
    UPDATE partition_archives
    SET phase = CASE WHEN dropped_at IS NULL THEN 'detached' ELSE 'dropped' END
    WHERE phase = 'expired';
    ALTER TABLE partition_archives DROP CONSTRAINT IF EXISTS partition_archives_phase_check;
    ALTER TABLE partition_archives ADD CONSTRAINT partition_archives_phase_check
      CHECK (phase IN ('detached', 'exported', 'dropped'));
    COMMENT ON COLUMN partition_archives.phase IS 'The last step that is done: detached, exported to a file that was read back, dropped';
  END IF;
END
$$;

DROP TABLE IF EXISTS legal_holds;
DROP TABLE IF EXISTS dialogue_retention;
DROP FUNCTION IF EXISTS await_retention();
COMMIT;
