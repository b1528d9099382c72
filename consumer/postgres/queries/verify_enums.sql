-- The named enums with their values in order.
SELECT named.name, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
FROM unnest($1::text[]) AS named (name)
JOIN pg_enum AS e ON e.enumtypid = to_regtype(named.name)
GROUP BY named.name
