-- Rollback of 0004_add_foreign_keys: no data is lost, orphans become possible.
-- squawk-ignore-file ban-drop-constraint

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS provenance
  DROP CONSTRAINT IF EXISTS fk_provenance_acquired_by,
  DROP CONSTRAINT IF EXISTS fk_provenance_content;
ALTER TABLE IF EXISTS ai_dialogue_log
  DROP CONSTRAINT IF EXISTS fk_ai_dialogue_user;
COMMIT;
