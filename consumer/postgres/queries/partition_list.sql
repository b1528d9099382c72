-- The partitions of ai_dialogue_log in order, the default one last, with their rows by the planner's statistics.
SELECT partition::text AS partition, is_default,
       CASE WHEN isfinite(begins_at) THEN begins_at END AS begins_at,
       CASE WHEN isfinite(ends_at) THEN ends_at END AS ends_at,
       greatest(reltuples, 0)::bigint AS rows, pg_total_relation_size(pg_class.oid) AS bytes
FROM dialogue_partitions('ai_dialogue_log')
JOIN pg_class ON pg_class.oid = partition
ORDER BY is_default, begins_at
