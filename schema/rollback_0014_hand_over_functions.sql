-- Rollback of 0014_hand_over_functions: nothing is lost, and nothing changes. Who owned the functions before is not known,
-- and the owner of the tables may run every earlier rollback.

BEGIN;
SET LOCAL lock_timeout = '5s';
COMMIT;
