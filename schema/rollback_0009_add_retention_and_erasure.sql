-- Rollback of 0009_add_retention_and_erasure.
-- WARNING: this deletes the provenance that retention has archived, the notices that wait, and the memory of who was
-- erased: a topic that is read again brings erased users back. Keep a copy of erased_users, erasures and
-- retention_archive, or publish, restore and export first.
-- squawk-ignore-file ban-drop-table, ban-drop-function

BEGIN;
SET LOCAL lock_timeout = '5s';
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
