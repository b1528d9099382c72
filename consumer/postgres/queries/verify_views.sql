-- The named views that exist, and whether each runs with the rights of the role that queries it.
SELECT named.name, coalesce('security_invoker=true' = ANY (c.reloptions), false) AS invoker
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name) AND c.relkind = 'v'
