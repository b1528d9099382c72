-- Statements that revoke the rights that default privileges have granted on the tables of a conversion. The copy must
-- have only the privileges of ai_dialogue_log, and nobody needs the list of deletions.
SELECT DISTINCT format('REVOKE ALL ON %I FROM %s', relname,
    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) AS statement
FROM pg_class, aclexplode(relacl)
WHERE pg_class.oid IN ('ai_dialogue_log_new'::regclass, 'ai_dialogue_log_deleted'::regclass) AND grantee <> relowner
