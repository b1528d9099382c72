-- The named tables in which this role may not see, change or delete every row: row-level security is active, and either
-- a restrictive policy limits the role, or for one of the three commands no permissive policy allows all rows.
-- $1 tables
SELECT named.name
FROM unnest($1::text[]) AS named (name)
WHERE to_regclass(named.name) IS NOT NULL
  AND row_security_active(to_regclass(named.name))
  AND EXISTS (
    SELECT FROM unnest(ARRAY['r', 'w', 'd']) AS needed (command)
    WHERE NOT EXISTS (
      SELECT FROM pg_policy AS policy
      WHERE policy.polrelid = to_regclass(named.name)
        AND policy.polpermissive
        AND policy.polcmd::text IN ('*', needed.command)
        AND pg_get_expr(policy.polqual, policy.polrelid) = 'true'
        AND EXISTS (
          SELECT FROM unnest(policy.polroles) AS role (oid)
          WHERE CASE WHEN role.oid = 0 THEN true ELSE pg_has_role(role.oid, 'USAGE') END
        )
    )
    OR EXISTS (
      SELECT FROM pg_policy AS policy
      WHERE policy.polrelid = to_regclass(named.name)
        AND NOT policy.polpermissive
        AND policy.polcmd::text IN ('*', needed.command)
    )
  )
