-- Expressions that convert the columns of the stage to those of the table, in the order of the names.
-- $1 table  $2 column names
SELECT string_agg(
    CASE
        -- In jsonb's binary form, the text follows the version byte.
        WHEN base.typname = 'jsonb' THEN format('convert_from(substr(%I, 2), ''UTF8'')::jsonb', attname)
        WHEN base.typtype = 'e' THEN format('%I::%s', attname, format_type(base.oid, NULL))
        ELSE quote_ident(attname)
    END,
    ', ' ORDER BY array_position($2::text[], attname::text)
) AS values
FROM pg_attribute
JOIN pg_type AS own ON own.oid = atttypid
JOIN pg_type AS base ON base.oid = CASE own.typtype WHEN 'd' THEN own.typbasetype ELSE own.oid END
WHERE attrelid = $1::text::regclass AND attname = ANY ($2::text[])
