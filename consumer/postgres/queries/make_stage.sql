-- Create a temporary table with the columns of one of our tables, to stage rows for it. The columns come from the
-- catalog, because CREATE TABLE … (LIKE …) needs the right to read the whole table, and the service must not read its
-- texts. The stage has no constraints: the later INSERT checks them.
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
