-- One day's aggregates, computed exactly from its rows and written over whatever row the day had.
-- The day is half-open: from its midnight to the next in the business time zone, be that 23, 24 or 25 hours.
-- $1 day  $2 business time zone
WITH bounds AS (
    SELECT
        $1::date::timestamp AT TIME ZONE $2 AT TIME ZONE 'UTC' AS begins_at,
        ($1::date + 1)::timestamp AT TIME ZONE $2 AT TIME ZONE 'UTC' AS ends_at
),
day AS (
    SELECT
        count(*) AS total_dialogues,
        count(DISTINCT user_id) AS unique_users,
        avg(
            CASE WHEN jsonb_typeof(citations) = 'array' AND jsonb_array_length(citations) > 0
            THEN 100.0 ELSE 0.0 END
        ) AS citation_rate,
        coalesce(sum(
            CASE WHEN jsonb_typeof(citations) = 'array' THEN jsonb_array_length(citations) ELSE 0 END
        ), 0) AS citation_count,
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms) AS latency,
        coalesce(sum(token_cost_jpy), 0) AS total_cost,
        avg(token_cost_jpy) AS cost_per_answer,
        coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
        coalesce(sum(completion_tokens), 0) AS completion_tokens,
        coalesce(sum(total_tokens), 0) AS total_tokens,
        avg(relevance_score) AS avg_relevance_score,
        count(*) FILTER (WHERE user_feedback = 1) AS feedback_positive,
        count(*) FILTER (WHERE user_feedback = 0) AS feedback_neutral,
        count(*) FILTER (WHERE user_feedback = -1) AS feedback_negative
    FROM ai_dialogue_log
    WHERE created_at >= (SELECT begins_at FROM bounds)
      AND created_at < (SELECT ends_at FROM bounds)
)
INSERT INTO rag_metrics_history AS history (
    date, total_dialogues, unique_users, citation_rate, citation_count, latency_p50, latency_p95, latency_p99,
    total_cost, cost_per_answer, prompt_tokens, completion_tokens, total_tokens, avg_relevance_score,
    feedback_positive, feedback_neutral, feedback_negative, computed_at
)
SELECT
    $1::date::timestamp, total_dialogues, unique_users, citation_rate, citation_count,
    latency[1], latency[2], latency[3], total_cost, cost_per_answer, prompt_tokens, completion_tokens, total_tokens,
    avg_relevance_score, feedback_positive, feedback_neutral, feedback_negative, now() AT TIME ZONE 'UTC'
FROM day
ON CONFLICT (date(date)) DO UPDATE SET
    date = excluded.date,
    total_dialogues = excluded.total_dialogues,
    unique_users = excluded.unique_users,
    citation_rate = excluded.citation_rate,
    citation_count = excluded.citation_count,
    latency_p50 = excluded.latency_p50,
    latency_p95 = excluded.latency_p95,
    latency_p99 = excluded.latency_p99,
    total_cost = excluded.total_cost,
    cost_per_answer = excluded.cost_per_answer,
    prompt_tokens = excluded.prompt_tokens,
    completion_tokens = excluded.completion_tokens,
    total_tokens = excluded.total_tokens,
    avg_relevance_score = excluded.avg_relevance_score,
    feedback_positive = excluded.feedback_positive,
    feedback_neutral = excluded.feedback_neutral,
    feedback_negative = excluded.feedback_negative,
    computed_at = excluded.computed_at
RETURNING *
