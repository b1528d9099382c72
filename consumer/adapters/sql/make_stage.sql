-- A temporary table with the columns of a table of ours, for rows on their way there. From the catalog, as CREATE TABLE …
-- (LIKE …) asks for the right to read the whole table, and the service has no business with the texts in it. Without the
-- table's constraints: the INSERT meets them.
-- Formatted in: table, stage. DO takes no arguments.
DO $$
BEGIN
    EXECUTE (
        SELECT format(
            'CREATE TEMPORARY TABLE {stage} (%s) ON COMMIT DROP',
            string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
        )
        FROM pg_attribute
        WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped
    );
END
$$
