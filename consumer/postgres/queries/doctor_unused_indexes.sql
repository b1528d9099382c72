-- Indexes of the named tables and their partitions that no query has used since `since`, the larger ones first. Unique
-- indexes are left out, because they work without scans. Indexes of tables too small for an index to be used are left
-- out too.
-- $1 tables  $2 least number of rows
SELECT
    s.schemaname AS schema_name, s.relname AS table_name, s.indexrelname AS name,
    pg_relation_size(s.indexrelid) AS bytes,
    coalesce(
        (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()), pg_postmaster_start_time()
    ) AS since
FROM unnest($1::text[]) AS named (name)
JOIN pg_class AS root ON root.oid = to_regclass(named.name)
LEFT JOIN LATERAL pg_partition_tree(root.oid) AS part ON true
JOIN pg_stat_user_indexes AS s ON s.relid = coalesce(part.relid, root.oid)
JOIN pg_stat_user_tables AS t ON t.relid = s.relid AND t.n_live_tup >= $2
JOIN pg_index AS i ON i.indexrelid = s.indexrelid
WHERE s.idx_scan = 0 AND NOT i.indisunique AND NOT i.indisexclusion AND i.indisvalid
ORDER BY bytes DESC, s.indexrelname
