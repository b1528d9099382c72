-- The schema of pg_stat_statements in this database, if it was created here; whether a server without it can have it;
-- and whether we see the statements of others.
SELECT
    (SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_stat_statements') AS schema_name,
    EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS available,
    pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all
