-- Whether row-level security hides rows of a table from our role: it applies to the role, and either no policy shows it
-- every row, or a restrictive policy hides some again.
-- $1 table
WITH ours AS (
    SELECT polpermissive AS permissive, pg_get_expr(polqual, polrelid) = 'true' AS shows_all
    FROM pg_policy
    WHERE polrelid = $1::text::regclass AND polcmd IN ('*', 'r') AND EXISTS (
        SELECT FROM unnest(polroles) AS role WHERE CASE WHEN role = 0 THEN true ELSE pg_has_role(role, 'USAGE') END
    )
)
SELECT
    current_user::text AS role,
    row_security_active($1::text) AND (
        NOT EXISTS (SELECT FROM ours WHERE permissive AND shows_all)
        OR EXISTS (SELECT FROM ours WHERE NOT permissive AND NOT shows_all)
    ) AS hidden
