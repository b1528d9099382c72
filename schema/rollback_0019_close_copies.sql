-- Rollback of 0019_close_copies. Lost: where archives lie, and which notices had named an erased user. The functions stay
-- closed: a rollback gives nobody a right.
-- squawk-ignore-file ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS partition_archives DROP COLUMN IF EXISTS directory;
ALTER TABLE IF EXISTS erasures DROP COLUMN IF EXISTS sent_notices;
COMMIT;
