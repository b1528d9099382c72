-- Rollback of 0012_remember_rollup_basis. Lost: when dialogues were stored, and what the days were computed under.
-- The days themselves stay; without 0012 nobody notices that they were computed under other settings.
-- squawk-ignore-file ban-drop-table, ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';
DROP TABLE IF EXISTS computed_days;
DROP TABLE IF EXISTS rollup_basis;
ALTER TABLE IF EXISTS ai_dialogue_log DROP COLUMN IF EXISTS ingested_at;
COMMIT;
