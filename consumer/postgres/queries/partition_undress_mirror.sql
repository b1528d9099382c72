-- Statements that revoke the right to call the functions of the mirror. The functions run with the rights of the owner,
-- and PostgreSQL allows everybody to call a new function. With this right, anybody could attach a function to a table
-- of their own, and so write any dialogue into the copy or delete it there.
SELECT DISTINCT format('REVOKE ALL ON FUNCTION %s FROM %s', pg_proc.oid::regprocedure,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) AS statement
FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
WHERE pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass)
  AND proname LIKE 'mirror\_ai\_dialogue\_log\_%' AND grantee <> proowner
