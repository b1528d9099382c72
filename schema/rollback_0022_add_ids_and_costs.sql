-- Rollback of 0022_add_ids_and_costs. Nothing is lost: the functions only compute with their arguments.
-- squawk-ignore-file ban-drop-function

BEGIN;
SET LOCAL lock_timeout = '5s';
DROP FUNCTION IF EXISTS session_id_of(UUID, TEXT);
DROP FUNCTION IF EXISTS user_id_of(UUID, TEXT);
DROP FUNCTION IF EXISTS named_uuid(UUID, TEXT);
COMMIT;
