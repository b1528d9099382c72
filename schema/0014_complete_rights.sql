-- 0014_complete_rights: what the files after 0008 left out.
--
-- ragledger_ingest may empty dead letters: whoever replays one that names an erased user has to.
-- The functions of 0010 belong to the owner of the tables. 0010 left them to who had run it, and another member of
-- ragledger_migrator could then neither run that file again nor its rollback. What belongs to somebody who is not the
-- migrating role stays theirs, with a WARNING.

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
DECLARE
  ours record;
BEGIN
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    GRANT UPDATE (key, value, headers) ON dead_letters TO ragledger_ingest;
  END IF;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) IS DISTINCT FROM to_regrole('ragledger_owner') THEN
    RETURN;
  END IF;
  FOR ours IN
    SELECT oid::regprocedure::text AS name, pg_get_userbyid(proowner) AS owner, pg_has_role(proowner, 'USAGE') AS is_mine
    FROM pg_proc
    WHERE proowner <> to_regrole('ragledger_owner') AND oid IN (
      to_regprocedure('spdx_license_id(text)'),
      to_regprocedure('usage_problems(text, boolean, boolean, timestamp, timestamp)')
    )
  LOOP
    IF ours.is_mine THEN
      EXECUTE format('ALTER FUNCTION %s OWNER TO ragledger_owner', ours.name);
    ELSE
      RAISE WARNING 'the function % stays with %', ours.name, ours.owner
        USING HINT = format('As %I or an administrator: ALTER FUNCTION %s OWNER TO ragledger_owner.', ours.owner, ours.name);
    END IF;
  END LOOP;
END
$$;

COMMIT;
