-- Rollback of 0014_complete_rights: nothing is lost. Replaying dead letters as ragledger_ingest is refused afterwards. The
-- functions stay with the owner of the tables: who owned them before is not known.

BEGIN;
SET LOCAL lock_timeout = '5s';
DO $$
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL AND to_regclass('dead_letters') IS NOT NULL THEN
    REVOKE UPDATE (key, value, headers) ON dead_letters FROM ragledger_ingest;
  END IF;
END
$$;
COMMIT;
