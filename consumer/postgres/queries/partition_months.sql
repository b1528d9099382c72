-- The months in which ai_dialogue_log has rows, found one after the other in the index on created_at, and the months
-- ahead. Months more than ten years ago, and months further ahead, are left out, so that a wrong clock cannot multiply
-- partitions.
-- $1 months ahead
WITH RECURSIVE span AS (
    SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AS this_month
),
found AS (
    SELECT (SELECT min(created_at) FROM ai_dialogue_log WHERE created_at >= this_month - interval '10 years') AS moment, this_month
    FROM span
    UNION ALL
    SELECT (
        SELECT min(created_at) FROM ai_dialogue_log
        WHERE created_at >= date_trunc('month', found.moment) + interval '1 month'
    ), this_month
    FROM found WHERE found.moment < this_month
)
SELECT date_trunc('month', moment)::date AS month FROM found WHERE moment < this_month
UNION
SELECT generate_series(this_month, this_month + make_interval(months => $1), interval '1 month')::date FROM span
ORDER BY month
