-- Which columns a foreign key is about, and which table they refer to.
-- $1 schema  $2 table  $3 constraint
SELECT string_agg(a.attname, ', ' ORDER BY key.place) AS columns, c.confrelid::regclass::text AS referred
FROM pg_constraint AS c
CROSS JOIN unnest(c.conkey) WITH ORDINALITY AS key (number, place)
JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = key.number
WHERE c.contype = 'f' AND c.conname = $3 AND c.conrelid = to_regclass(format('%I.%I', $1::text, $2::text))
GROUP BY c.oid, c.confrelid
