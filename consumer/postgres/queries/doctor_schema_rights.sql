-- The schema of our tables, and whether every role may create objects in it, as in databases that were created before
-- PostgreSQL 15.
SELECT quote_ident(nspname) AS name,
       EXISTS (SELECT FROM aclexplode(nspacl) WHERE grantee = 0 AND privilege_type = 'CREATE') AS is_open
FROM pg_namespace
WHERE oid = (SELECT relnamespace FROM pg_class WHERE pg_class.oid = to_regclass('ingest_ledger'))
