-- Rollback of 0007_add_amendments.
-- WARNING: verdicts and checks that wait for their row are lost, and so is the history of checks. What was written into
-- ai_dialogue_log, provenance and plugin_registry stays.
-- squawk-ignore-file ban-drop-table
-- squawk-ignore-file ban-drop-column
-- squawk-ignore-file ban-drop-constraint
-- squawk-ignore-file ban-drop-function

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS plugin_registry DROP CONSTRAINT IF EXISTS plugin_registry_config_check;
ALTER TABLE IF EXISTS plugin_registry DROP COLUMN IF EXISTS reported_at;
DROP FUNCTION IF EXISTS plugin_config_is_valid(JSONB);
DROP TABLE IF EXISTS kept_verifications;
DROP TABLE IF EXISTS kept_feedback;
COMMIT;
