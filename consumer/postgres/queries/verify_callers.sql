-- Functions that a role may not call although row constraints, indexes and views that it uses do: where default
-- privileges take EXECUTE from PUBLIC. For the named roles that exist, and our own. Triggers run without this right.
-- $1 functions  $2 roles
SELECT quote_ident(rolname) AS role, pg_proc.oid::regprocedure::text AS name
FROM pg_proc
JOIN pg_roles ON rolname = ANY ($2::text[]) OR rolname = current_user
WHERE pronamespace = (SELECT relnamespace FROM pg_class WHERE pg_class.oid = to_regclass('ingest_ledger'))
  AND proname = ANY ($1::text[]) AND prorettype <> 'trigger'::regtype AND NOT has_function_privilege(pg_roles.oid, pg_proc.oid, 'EXECUTE')
ORDER BY role, name
