-- What ai_dialogue_log is, no row where it is missing: r for a table, p for a partitioned one; its columns, quoted, without those
-- that are computed; and whether what it needs to be partitioned was installed (migration 0011).
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
