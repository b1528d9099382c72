-- 0004_add_foreign_keys: referential integrity with the application's own tables. Optional.
-- ragledger: requires-tables users, materials
--
-- Where those tables are missing this file says so in a NOTICE and changes nothing; run it again once they exist.
-- With it, an event about an unknown user or content is refused by the database and becomes a dead letter.
--
-- NOT VALID holds for new rows at once under a short lock. The second transaction checks the rows from before while
-- readers and writers go on. If it finds an orphan it fails with the key: mend that row and run the file again.

BEGIN;
SET LOCAL lock_timeout = '5s';
DO $$
DECLARE
  -- Before PostgreSQL 18 a partitioned table takes no NOT VALID foreign key: there, the lock lasts for the check.
  validity CONSTANT text := CASE
    WHEN current_setting('server_version_num')::integer < 180000
      AND EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('ai_dialogue_log') AND relkind = 'p')
    THEN '' ELSE 'NOT VALID' END;
BEGIN
  IF to_regclass('users') IS NULL OR to_regclass('materials') IS NULL THEN
    RAISE NOTICE 'foreign keys skipped: they need the tables users (%) and materials (%)',
      CASE WHEN to_regclass('users') IS NULL THEN 'missing' ELSE 'present' END,
      CASE WHEN to_regclass('materials') IS NULL THEN 'missing' ELSE 'present' END;
    RETURN;
  END IF;

  IF NOT EXISTS (
    SELECT FROM pg_constraint WHERE conrelid = 'ai_dialogue_log'::regclass AND conname = 'fk_ai_dialogue_user'
  ) THEN
    EXECUTE 'ALTER TABLE ai_dialogue_log ADD CONSTRAINT fk_ai_dialogue_user'
      ' FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE ' || validity;
    COMMENT ON CONSTRAINT fk_ai_dialogue_user ON ai_dialogue_log IS 'Dialogues go with their user';
  END IF;

  IF NOT EXISTS (
    SELECT FROM pg_constraint WHERE conrelid = 'provenance'::regclass AND conname = 'fk_provenance_content'
  ) THEN
    ALTER TABLE provenance ADD CONSTRAINT fk_provenance_content
      FOREIGN KEY (content_id) REFERENCES materials (id) ON DELETE RESTRICT NOT VALID;
    COMMENT ON CONSTRAINT fk_provenance_content ON provenance IS 'Content with provenance cannot be deleted';
  END IF;

  IF NOT EXISTS (
    SELECT FROM pg_constraint WHERE conrelid = 'provenance'::regclass AND conname = 'fk_provenance_acquired_by'
  ) THEN
    ALTER TABLE provenance ADD CONSTRAINT fk_provenance_acquired_by
      FOREIGN KEY (acquired_by) REFERENCES users (id) ON DELETE SET NULL NOT VALID;
    COMMENT ON CONSTRAINT fk_provenance_acquired_by ON provenance IS 'Provenance outlives the user who acquired it';
  END IF;
END
$$;
COMMIT;

BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
DO $$
DECLARE
  fk record;
BEGIN
  FOR fk IN
    SELECT conrelid::regclass AS referencing, conname
    FROM pg_constraint
    WHERE contype = 'f' AND NOT convalidated
      AND conrelid IN (to_regclass('ai_dialogue_log'), to_regclass('provenance'))
      AND conname IN ('fk_ai_dialogue_user', 'fk_provenance_content', 'fk_provenance_acquired_by')
  LOOP
    EXECUTE format('ALTER TABLE %s VALIDATE CONSTRAINT %I', fk.referencing, fk.conname);
  END LOOP;
END
$$;
COMMIT;
