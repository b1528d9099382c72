-- Rollback of 0018_keep_refusals_and_timestamps. Lost: which amendments the database refused, and the exact timestamps of
-- dead letters whose producers did not write milliseconds; a replay gives such a record another id, where it brings none.
-- squawk-ignore-file ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS kept_feedback DROP COLUMN IF EXISTS sqlstate;
COMMIT;

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS kept_verifications DROP COLUMN IF EXISTS sqlstate;
COMMIT;

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS dead_letters DROP COLUMN IF EXISTS record_timestamp_ms;
DO $$
BEGIN
    IF to_regclass('dead_letters') IS NOT NULL THEN
        COMMENT ON COLUMN dead_letters.record_timestamp IS 'Timestamp of the record; tells it from one at the same offset of a topic made anew';
    END IF;
END
$$;
COMMIT;
