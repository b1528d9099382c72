-- The size of ai_dialogue_log with indexes and long values, and its number of rows by the planner's statistics. It
-- never counts.
SELECT sum(pg_total_relation_size(oid))::bigint AS bytes, sum(greatest(reltuples, 0))::bigint AS rows
FROM pg_class
WHERE oid IN (
    SELECT 'ai_dialogue_log'::regclass UNION ALL SELECT relid FROM pg_partition_tree('ai_dialogue_log') WHERE isleaf
)
