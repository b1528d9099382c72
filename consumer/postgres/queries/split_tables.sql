-- The temporary tables of a split. The stage accepts the encoded rows of the table and refuses as little as possible:
-- no lengths, no scales, no labels, JSON as raw bytes. The INSERT then finds a wrong row, row by row in the server; the
-- COPY would fail as a whole. The rows are numbered in the order of the COPY.
-- Formatted in: table, columns (a quoted list), stage, new, refused, progress. DO takes no arguments.
DO $$
BEGIN
    EXECUTE (
        SELECT format(
            'CREATE TEMPORARY TABLE {stage} (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, %s) ON COMMIT DROP',
            string_agg(
                format('%I %s', attname, CASE
                    WHEN base.typname = 'jsonb' THEN 'bytea'
                    WHEN base.typtype = 'e' THEN 'text'
                    ELSE format_type(base.oid, NULL)
                END),
                ', ' ORDER BY attnum
            )
        )
        FROM pg_attribute
        JOIN pg_type AS own ON own.oid = atttypid
        JOIN pg_type AS base ON base.oid = CASE own.typtype WHEN 'd' THEN own.typbasetype ELSE own.oid END
        WHERE attrelid = '{table}'::regclass AND attname IN ({columns})
    );
    CREATE TEMPORARY TABLE {new} (id uuid) ON COMMIT DROP;
    CREATE TEMPORARY TABLE {refused} (
        number bigint, sqlstate text, table_schema text, table_name text, column_name text, constraint_name text
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE {progress} (
        number bigint NOT NULL, last bigint NOT NULL, size bigint NOT NULL, guilty_before bigint NOT NULL,
        since_guilty bigint NOT NULL, affordable bigint NOT NULL, writes bigint NOT NULL,
        is_slow boolean NOT NULL, fixed float8  -- seconds that a portion without rows takes, once that is known
    ) ON COMMIT DROP;
END
$$
