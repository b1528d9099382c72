-- The enabled triggers of the named tables that run after each deleting statement.
-- $1 tables
SELECT named.name AS table_name, t.tgname::text AS name
FROM unnest($1::text[]) AS named (name)
JOIN pg_trigger AS t ON t.tgrelid = to_regclass(named.name)
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 8 > 0 AND t.tgtype & 1 = 0
