-- The outcome of each staged row, in the order of the COPY: refused, with the error; new; or else a duplicate. If an id
-- was staged twice, only the first row that was not refused can be new. For a foreign key's refusal, the result
-- contains its columns and the referenced table. If the index belongs to a partition, the result names the index of the
-- partitioned table.
-- Formatted in: stage, new, refused.
SELECT
    refused.sqlstate, refused.table_schema, refused.table_name, refused.column_name,
    coalesce((
        SELECT relname::text
        FROM pg_class
        WHERE oid = pg_partition_root(to_regclass(
            quote_ident(refused.table_schema) || '.' || quote_ident(refused.constraint_name)
        ))
    ), refused.constraint_name) AS constraint_name,
    reference.confrelid::regclass::text AS referred,
    (
        SELECT string_agg(attname, ', ' ORDER BY array_position(reference.conkey, attnum))
        FROM pg_attribute
        WHERE attrelid = reference.conrelid AND attnum = ANY (reference.conkey)
    ) AS columns,
    inserted.id IS NOT NULL
        AND row_number() OVER (PARTITION BY stage.id, refused.number IS NULL ORDER BY stage.number) = 1 AS is_new
FROM {stage} AS stage
LEFT JOIN {refused} AS refused ON refused.number = stage.number
LEFT JOIN {new} AS inserted ON inserted.id = stage.id AND refused.number IS NULL
LEFT JOIN pg_constraint AS reference
    ON reference.contype = 'f'
    AND reference.conname = refused.constraint_name
    AND reference.conrelid = to_regclass(quote_ident(refused.table_schema) || '.' || quote_ident(refused.table_name))
ORDER BY stage.number
