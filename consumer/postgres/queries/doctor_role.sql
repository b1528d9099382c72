-- Our own role: its attributes, its memberships, and whether it may create temporary tables. A table counts as its own
-- if it belongs to the role, or to a role whose rights it has.
-- $1 tables
SELECT
    quote_ident(rolname) AS name,
    rolsuper AS is_superuser,
    rolcreaterole OR rolcreatedb OR rolreplication AS may_more,
    rolbypassrls AS bypasses,
    rolconnlimit AS connection_limit,
    to_regrole('ragledger_ingest') IS NOT NULL AS ingest_exists,
    pg_has_role(to_regrole('ragledger_ingest'), 'USAGE') IS TRUE AS is_ingest,
    has_database_privilege(current_database(), 'TEMPORARY') AS may_stage,
    ARRAY(
        SELECT named.name
        FROM unnest($1::text[]) AS named (name)
        JOIN pg_class AS c ON c.oid = to_regclass(named.name) AND pg_has_role(c.relowner, 'USAGE')
    ) AS owned
FROM pg_roles
WHERE rolname = current_user
