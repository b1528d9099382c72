-- The partitions of ai_dialogue_log_new as statements: the default one with the old table's storage settings, then one
-- for each month.
-- $1 months, each by its first day
WITH months AS (
    SELECT month, 'ai_dialogue_log_' || to_char(month, 'YYYY_MM') AS name FROM unnest($1::date[]) AS month
),
old AS (
    SELECT ' WITH (' || array_to_string(reloptions, ', ') || ')' AS options FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
)
SELECT statement
FROM (
    SELECT 1 AS place, format('CREATE TABLE ai_dialogue_log_default PARTITION OF ai_dialogue_log_new DEFAULT%s', options) AS statement
    FROM old
    UNION ALL
    SELECT 2, 'SELECT dress_dialogue_partition(''ai_dialogue_log_default'', ''ai_dialogue_log_new'', ''no month that has a partition'')'
    UNION ALL
    SELECT 3, format('CREATE TABLE %I PARTITION OF ai_dialogue_log_new FOR VALUES FROM (%L) TO (%L)', name, month, month + interval '1 month')
    FROM months
    UNION ALL
    SELECT 4, format('SELECT dress_dialogue_partition(%L, ''ai_dialogue_log_new'', %L)', name, to_char(month, 'YYYY-MM'))
    FROM months
) AS steps
ORDER BY place, statement
