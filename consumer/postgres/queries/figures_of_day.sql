-- The exact figures of one day from its rows, each with the precision of its column in rag_metrics_history.
-- One pass over the rows, which the index on created_at finds. The inner query counts the citations once, because each
-- count has to parse the document; OFFSET 0 keeps PostgreSQL from merging the two queries. Run it with
-- roll_up_settings.sql.
-- $1 the first moment of the day  $2 that of the next, both UTC: the day is half-open
SELECT
    count(*)::int AS total_dialogues,
    count(DISTINCT user_id)::int AS unique_users,
    avg(CASE WHEN citations > 0 THEN 100.0 ELSE 0.0 END)::numeric(5,2) AS citation_rate,
    coalesce(sum(citations), 0)::bigint AS citation_count,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms) AS latency,
    coalesce(sum(token_cost_jpy), 0)::numeric(16,2) AS total_cost,
    avg(token_cost_jpy)::numeric(10,2) AS cost_per_answer,
    coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
    coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
    coalesce(sum(total_tokens), 0)::bigint AS total_tokens,
    avg(relevance_score)::numeric(3,2) AS avg_relevance_score,
    (count(*) FILTER (WHERE user_feedback = 1))::int AS feedback_positive,
    (count(*) FILTER (WHERE user_feedback = 0))::int AS feedback_neutral,
    (count(*) FILTER (WHERE user_feedback = -1))::int AS feedback_negative,
    percentile_cont(0.95) WITHIN GROUP (ORDER BY ingest_delay) AS ingest_delay_p95
FROM (
    SELECT
        user_id, latency_ms, token_cost_jpy, prompt_tokens, completion_tokens, total_tokens, relevance_score,
        user_feedback,
        CASE WHEN jsonb_typeof(citations) = 'array' THEN jsonb_array_length(citations) ELSE 0 END AS citations,
        CASE
            WHEN ingested_at > created_at THEN date_part('epoch', ingested_at - created_at)
            WHEN ingested_at <= created_at THEN 0
        END AS ingest_delay
    FROM ai_dialogue_log
    WHERE created_at >= $1 AND created_at < $2
    OFFSET 0
) AS dialogue
