-- Rollback of 0015_keep_erasure_key. Lost: the key, and with it who the users are that were erased while none was set.
-- Where there are such, services write nothing afterwards: they cannot tell whom they would bring back.
-- squawk-ignore-file ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE IF EXISTS erasure_version DROP COLUMN IF EXISTS key;
COMMIT;
