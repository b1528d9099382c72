-- Rows number {first} to {last}, 100,000 a day from 2025-05-01 on. Their texts are short, because only the indexes have
-- to grow, and users and sessions repeat. {id} is the expression of the id.
INSERT INTO ai_dialogue_log (
    id, user_id, session_id, query, response, model_used, created_at, citations, latency_ms, token_cost_jpy,
    citation_rate, prompt_tokens, completion_tokens, total_tokens, relevance_score, user_feedback
)
SELECT
    {id},
    md5('user' || n * 7919 % 5000)::uuid,
    md5('session' || n / 4)::uuid,
    'question ' || n,
    'answer ' || n || repeat(' and so on', 6),
    (ARRAY['gpt-5-mini', 'claude-haiku', 'gemini-flash', 'llama-4-scout'])[n % 4 + 1],
    moment,
    CASE WHEN n % 4 > 0 THEN jsonb_build_array(jsonb_build_object('source', 'https://library.example/' || n % 400)) END,
    (exp(6.5 + 1.2 * ((n * 48271 % 65537) / 65537.0)))::int,
    (n % 500) / 100.0,
    n % 101,
    200 + n % 4000,
    50 + n % 900,
    250 + n % 4000 + n % 900,
    (n % 101) / 100.0,
    CASE n % 9 WHEN 0 THEN -1 WHEN 1 THEN 0 WHEN 2 THEN 1 WHEN 3 THEN 1 END
FROM (
    SELECT n, timestamp '2025-05-01' + n * interval '864 milliseconds' AS moment
    FROM generate_series({first}::bigint, {last}::bigint) AS n
) AS numbered
