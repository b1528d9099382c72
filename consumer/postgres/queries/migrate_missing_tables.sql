-- The named tables that this search path does not find.
SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL
