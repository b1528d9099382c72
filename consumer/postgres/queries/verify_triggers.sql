-- The enabled triggers of the named tables that set updated_at.
SELECT named.name AS table_name, t.tgname::text AS name
FROM unnest($1::text[]) AS named (name)
JOIN pg_trigger AS t ON t.tgrelid = to_regclass(named.name)
WHERE t.tgfoid = to_regprocedure('update_updated_at_column()') AND NOT t.tgisinternal AND t.tgenabled <> 'D'
