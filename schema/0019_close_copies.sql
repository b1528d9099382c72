-- 0019_close_copies: what copies of dialogues need so that nobody gets at them, and so that an erasure finds them.
--
-- Functions that everybody could call belong to the owner alone: those of a conversion under way, which run with the
-- owner's rights, among them. partition_archives.directory: where an archive lies, so that an erasure can look into it.
-- erasures.sent_notices: notices that had named the user when they were sent.

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  ours record;
BEGIN
  FOR ours IN
    SELECT oid::regprocedure AS name, proname, pg_get_userbyid(proowner) AS owner, pg_has_role(proowner, 'USAGE') AS is_mine
    FROM pg_proc
    WHERE pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass)
      AND (proname IN ('raise_erasure_version', 'dialogue_partitions') OR proname LIKE 'mirror\_ai\_dialogue\_log\_%')
  LOOP
    IF NOT ours.is_mine THEN
      RAISE WARNING 'everybody may call the function %, which belongs to %', ours.name, ours.owner
        USING HINT = format('As %I or an administrator: REVOKE ALL ON FUNCTION %s FROM PUBLIC.', ours.owner, ours.name);
      CONTINUE;
    END IF;
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', ours.name);
    IF ours.proname = 'raise_erasure_version' THEN
      EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, %I, pg_temp', ours.name, current_schema());
    END IF;
  END LOOP;
END
$$;

ALTER TABLE partition_archives ADD COLUMN IF NOT EXISTS directory TEXT;
ALTER TABLE erasures ADD COLUMN IF NOT EXISTS sent_notices UUID[] DEFAULT '{}' NOT NULL;

COMMENT ON COLUMN partition_archives.directory IS 'Directory of the file, on the machine that wrote it; NULL: not written yet, or before this column';
COMMENT ON COLUMN erasures.sent_notices IS 'Notices that named the user as owner and were published, or being published: retention_notices(id)';

COMMIT;
