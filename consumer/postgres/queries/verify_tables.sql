-- The named tables that exist, ordinary or partitioned, each with its comment.
SELECT named.name, obj_description(c.oid, 'pg_class') AS comment
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS c ON c.oid = to_regclass(named.name) AND c.relkind IN ('r', 'p')
