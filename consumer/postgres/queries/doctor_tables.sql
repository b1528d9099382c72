-- The named tables with their partitions: size in bytes, size of indexes, live and dead rows, whether statistics were
-- ever gathered, and the age of the oldest transaction id, which must not come near two thousand million.
-- $1 tables
WITH parts AS (
    SELECT named.name, c.oid AS root, c.relkind = 'p' AS partitioned, coalesce(part.relid, c.oid) AS relid
    FROM unnest($1::text[]) AS named (name)
    JOIN pg_class AS c ON c.oid = to_regclass(named.name)
    LEFT JOIN LATERAL pg_partition_tree(c.oid) AS part ON true
)
SELECT
    name,
    bool_or(partitioned) AS partitioned,
    sum(pg_table_size(c.oid) + pg_indexes_size(c.oid))::bigint AS bytes,
    sum(pg_indexes_size(c.oid))::bigint AS index_bytes,
    coalesce(sum(s.n_live_tup), 0)::bigint AS live,
    coalesce(sum(s.n_dead_tup), 0)::bigint AS dead,
    coalesce(bool_or(s.last_analyze IS NOT NULL OR s.last_autoanalyze IS NOT NULL), false) AS analyzed,
    max(age(nullif(c.relfrozenxid, '0'::xid)))::bigint AS transaction_age
FROM parts
JOIN pg_class AS c ON c.oid = parts.relid
LEFT JOIN pg_stat_user_tables AS s ON s.relid = parts.relid
GROUP BY name
ORDER BY 3 DESC
