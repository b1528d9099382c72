-- Everything that ai_dialogue_log has and a copy made with LIKE lacks, as statements for ai_dialogue_log_new, in the
-- order in which they run: owner, indexes, foreign keys, privileges, row-level security, comments.
WITH old AS (
    SELECT * FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
),
indexes AS (
    SELECT indexrelid, index.relname, pg_get_indexdef(indexrelid) AS definition
    FROM old JOIN pg_index ON indrelid = old.oid AND NOT indisprimary
    JOIN pg_class AS index ON index.oid = indexrelid
),
privileges AS (
    SELECT privilege_type, is_grantable, '' AS on_column,
           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee
    FROM old, aclexplode(relacl) AS acl WHERE acl.grantee <> relowner
    UNION ALL
    SELECT privilege_type, is_grantable, format(' (%I)', attname),
           CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
    FROM old JOIN pg_attribute ON attrelid = old.oid, aclexplode(attacl) AS acl WHERE acl.grantee <> relowner
)
SELECT statement
FROM (
    SELECT 1 AS place, format('ALTER TABLE ai_dialogue_log_new OWNER TO %I', pg_get_userbyid(relowner)) AS statement
    FROM old WHERE relowner <> current_user::regrole
    UNION ALL
    SELECT 2, format('CREATE %sINDEX %I ON ai_dialogue_log_new USING %s',
        CASE WHEN definition LIKE 'CREATE UNIQUE %' THEN 'UNIQUE ' ELSE '' END,
        relname || '_new', substring(definition FROM ' USING (.*)$'))
    FROM indexes
    UNION ALL
    SELECT 3, format('COMMENT ON INDEX %I IS %L', relname || '_new', description)
    FROM indexes JOIN pg_description ON objoid = indexrelid AND classoid = 'pg_class'::regclass
    UNION ALL
    SELECT 4, format('GRANT %s%s ON ai_dialogue_log_new TO %s%s',
        privilege_type, on_column, grantee, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM privileges
    UNION ALL
    SELECT 5, format('CREATE POLICY %I ON ai_dialogue_log_new AS %s FOR %s TO %s%s%s', policyname, permissive, cmd,
        (SELECT string_agg(CASE role WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(role) END, ', ') FROM unnest(roles) AS role),
        ' USING (' || qual || ')', ' WITH CHECK (' || with_check || ')')
    FROM old JOIN pg_namespace ON pg_namespace.oid = relnamespace
    JOIN pg_policies ON schemaname = nspname AND tablename = relname
    UNION ALL
    SELECT 6, format('COMMENT ON POLICY %I ON ai_dialogue_log_new IS %L', polname, description)
    FROM old JOIN pg_policy AS policy ON polrelid = old.oid
    JOIN pg_description ON objoid = policy.oid AND classoid = 'pg_policy'::regclass
    UNION ALL
    SELECT 7, 'ALTER TABLE ai_dialogue_log_new ENABLE ROW LEVEL SECURITY' FROM old WHERE relrowsecurity
    UNION ALL
    SELECT 7, 'ALTER TABLE ai_dialogue_log_new FORCE ROW LEVEL SECURITY' FROM old WHERE relforcerowsecurity
    UNION ALL
    SELECT 7, format('COMMENT ON TABLE ai_dialogue_log_new IS %L', obj_description(oid, 'pg_class')) FROM old
) AS steps
ORDER BY place, statement
