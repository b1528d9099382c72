-- Rows a day by the planner's statistics: the middle nine tenths of the rows over the days they span, so that a wrong
-- clock has no effect. Without statistics of created_at: all rows over the days from the first to the last. NULL if
-- nothing is known.
WITH known AS (
    SELECT sum(reltuples) FILTER (WHERE reltuples >= 0) AS estimated_rows
    FROM pg_class
    WHERE oid IN (
        SELECT 'ai_dialogue_log'::regclass UNION ALL SELECT relid FROM pg_partition_tree('ai_dialogue_log') WHERE isleaf
    ) AND relkind = 'r'
),
bounds AS (
    SELECT histogram_bounds::text::timestamp[] AS moments
    FROM pg_stats
    WHERE schemaname = (
        SELECT nspname FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid
        WHERE pg_class.oid = 'ai_dialogue_log'::regclass
      )
      AND tablename = 'ai_dialogue_log' AND attname = 'created_at' AND histogram_bounds IS NOT NULL
    ORDER BY inherited DESC
    LIMIT 1
),
span AS (
    SELECT 0.9 AS share, moments[1 + cardinality(moments) / 20] AS first,
           moments[cardinality(moments) - cardinality(moments) / 20] AS last
    FROM bounds
    UNION ALL
    SELECT 1, min(created_at), max(created_at)
    FROM ai_dialogue_log
    WHERE created_at > '-infinity' AND created_at < 'infinity' AND NOT EXISTS (SELECT FROM bounds)
)
SELECT round(estimated_rows::numeric * share / greatest(extract(epoch FROM last - first) / 86400, 1))::bigint AS rows_a_day
FROM known, span
WHERE estimated_rows IS NOT NULL AND last IS NOT NULL
