-- Write a day's figures over its row, if it has one, and return the row. If there are neither dialogues nor a row,
-- nothing is written unless somebody asked for this day.
-- $1 day  $2 to $17 its figures, in the order of the columns  $18 one member per objective  $19 whether it was asked for
INSERT INTO rag_metrics_history AS history (
    date, total_dialogues, unique_users, citation_rate, citation_count, latency_p50, latency_p95, latency_p99,
    total_cost, cost_per_answer, prompt_tokens, completion_tokens, total_tokens, avg_relevance_score,
    feedback_positive, feedback_neutral, feedback_negative, slo_compliance, computed_at
)
SELECT
    $1::text::date, $2::int, $3::int, $4::numeric, $5::bigint, $6::float8, $7::float8, $8::float8, $9::numeric, $10::numeric,
    $11::bigint, $12::bigint, $13::bigint, $14::numeric, $15::int, $16::int, $17::int, $18::jsonb,
    now() AT TIME ZONE 'UTC'
WHERE $19::boolean OR $2::int > 0 OR EXISTS (SELECT FROM rag_metrics_history WHERE date(date) = $1::text::date)
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
    slo_compliance = excluded.slo_compliance,
    computed_at = excluded.computed_at
RETURNING *
