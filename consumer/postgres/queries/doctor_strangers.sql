-- Roles that default privileges have given rights on our tables, and on which: for instance the roles of a hosted
-- database's web API. PUBLIC, the owners, our own roles and superusers are not listed. SELECT on a table with row-level
-- security is left to its policies.
-- $1 tables and views  $2 our roles
SELECT quote_ident(rolname) AS role, array_agg(DISTINCT pg_class.oid::regclass::text) AS tables
FROM pg_class
CROSS JOIN aclexplode(relacl) AS acl
JOIN pg_roles ON pg_roles.oid = acl.grantee
WHERE pg_class.oid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)
  AND grantee <> relowner AND NOT rolsuper AND rolname <> ALL ($2::text[])
  AND NOT (relrowsecurity AND privilege_type = 'SELECT')
  AND EXISTS (
    SELECT FROM pg_default_acl CROSS JOIN aclexplode(defaclacl) AS given
    WHERE defaclobjtype = 'r' AND defaclnamespace IN (0, relnamespace)
      AND given.grantee = acl.grantee AND given.privilege_type = acl.privilege_type
  )
GROUP BY rolname
ORDER BY rolname
