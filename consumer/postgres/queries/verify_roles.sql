-- The named roles that exist on this server, and whether each may act as ragledger_owner.
-- $1 roles
SELECT rolname::text AS name, pg_has_role(oid, to_regrole('ragledger_owner'), 'MEMBER') IS TRUE AS acts_as_owner
FROM pg_roles
WHERE rolname = ANY ($1::text[])
