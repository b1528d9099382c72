-- What became of each staged row, in the order of the COPY: refused, with why; new; or neither, a duplicate. Of an id that
-- was staged twice only the first row that was not refused can be the one that is new.
-- Formatted in: stage, new, refused.
SELECT
    refused.sqlstate, refused.table_schema, refused.table_name, refused.column_name, refused.constraint_name,
    inserted.id IS NOT NULL
        AND row_number() OVER (PARTITION BY stage.id, refused.number IS NULL ORDER BY stage.number) = 1 AS is_new
FROM {stage} AS stage
LEFT JOIN {refused} AS refused ON refused.number = stage.number
LEFT JOIN {new} AS inserted ON inserted.id = stage.id AND refused.number IS NULL
ORDER BY stage.number
