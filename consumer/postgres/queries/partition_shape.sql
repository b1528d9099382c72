-- The kind of ai_dialogue_log: r for a table, p for a partitioned table, no row if it is missing. Also its columns,
-- quoted, without computed ones, and whether everything that partitioning needs is installed (migration 0011).
SELECT
    relkind::text AS kind,
    to_regclass('known_ids') IS NOT NULL AS prepared,
    (
        SELECT array_agg(quote_ident(attname) ORDER BY attnum)
        FROM pg_attribute
        WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
    ) AS columns
FROM pg_class
WHERE oid = to_regclass('ai_dialogue_log')
