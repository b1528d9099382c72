-- Statements about rag_metrics_history, and the tables of the roll-up: touched_days, computed_days, rollup_basis.


-- name: adopt_basis
-- Put a business time zone and objectives in force. The replica that starts last decides.
-- $1 time zone  $2 objectives  $3 who
INSERT INTO rollup_basis AS basis (time_zone, objectives, adopted_at, adopted_by)
VALUES ($1, $2::jsonb, clock_timestamp(), $3)
ON CONFLICT (time_zone, md5(objectives::text))
DO UPDATE SET adopted_at = excluded.adopted_at, adopted_by = excluded.adopted_by


-- name: basis_in_force
-- The basis in force for computing days, and the current time.
SELECT id, time_zone, objectives, adopted_by, now() AT TIME ZONE 'UTC' AS now
FROM rollup_basis
WHERE adopted_at IS NOT NULL
ORDER BY adopted_at DESC
LIMIT 1


-- name: count_dialogues
-- Number of dialogues that took place between two moments.
-- $1 from  $2 up to, but not including, both UTC
SELECT count(*) AS dialogues FROM ai_dialogue_log WHERE created_at >= $1 AND created_at < $2


-- name: day_archived
-- Whether some or all rows of a day were archived, because a month ends at midnight UTC and a day in the business time
-- zone; and whether some or all have expired.
-- $1 begin of the day, UTC  $2 its end, UTC
SELECT
    EXISTS (
        SELECT FROM partition_archives WHERE month < $2::timestamp AND month + interval '1 month' > $1::timestamp
    ) AS archived,
    EXISTS (SELECT FROM dialogue_retention WHERE expired_before > $1) AS expired


-- name: due_days
-- The due days, newest first, because today matters most: days whose rows have changed, days of another basis, and
-- today if it has a row. A day that was computed just now can wait: another replica has done it.
-- $1 the basis in force  $2 today  $3 seconds for which a row is fresh
WITH stale AS (
    SELECT day FROM touched_days
    UNION
    SELECT date(history.date)
    FROM rag_metrics_history AS history
    LEFT JOIN computed_days AS computed ON computed.day = date(history.date)
    WHERE date(history.date) = $2::text::date
       OR (computed.basis_id IS DISTINCT FROM $1::bigint AND computed.left_under IS DISTINCT FROM $1)
)
SELECT stale.day
FROM stale
LEFT JOIN rag_metrics_history AS history ON date(history.date) = stale.day
WHERE history.computed_at IS NULL
   OR history.computed_at NOT BETWEEN
        (now() AT TIME ZONE 'UTC') - $3::float8 * interval '1 second' AND (now() AT TIME ZONE 'UTC')
ORDER BY stale.day DESC


-- name: figures_of_day
-- The exact figures of one day from its rows, each with the precision of its column in rag_metrics_history. One pass
-- over the rows, which the index on created_at finds. The inner query counts the citations once, because each count has
-- to parse the document; OFFSET 0 keeps PostgreSQL from merging the two queries. Run it with `roll_up_settings`.
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


-- name: forget_touched_day
-- Delete the marks of a day that is computed next. Marks of transactions that commit after this statement began stay.
-- The statement that computes runs later, so it sees at least the rows of every mark deleted here.
-- $1 day
DELETE FROM touched_days WHERE day = $1::date


-- name: judge_day
-- Store the verdicts of a stored day on the objectives.
-- $1 day  $2 one member per objective
UPDATE rag_metrics_history SET slo_compliance = $2::jsonb WHERE date(date) = $1::text::date


-- name: lead_rollup
-- Whether this transaction may roll up: one replica at a time. No session lock, so it works behind a pooler.
SELECT pg_try_advisory_xact_lock(hashtextextended('ragledger rollup', 0)) AS leads


-- name: leave_day
-- Record that a day was not computed again under a basis, because some of its dialogues are no longer there. If the
-- day's own basis is unknown, it is recorded as the basis in force.
-- $1 day  $2 the basis in force
INSERT INTO computed_days (day, basis_id, left_under) VALUES ($1::text::date, $2, $2)
ON CONFLICT (day) DO UPDATE SET left_under = excluded.left_under


-- name: newest_day
-- The newest row of daily aggregates.
SELECT * FROM rag_metrics_history ORDER BY date DESC LIMIT 1


-- name: note_computed_day
-- Record the basis of a computed day, and the figure that has no column in rag_metrics_history.
-- $1 day  $2 basis  $3 ingest_delay_p95
INSERT INTO computed_days (day, basis_id, ingest_delay_p95) VALUES ($1::text::date, $2, $3)
ON CONFLICT (day) DO UPDATE
SET basis_id = excluded.basis_id, left_under = NULL, ingest_delay_p95 = excluded.ingest_delay_p95


-- name: note_judged_day
-- Record the basis under which a day was judged. Its figures do not change.
-- $1 day  $2 basis
UPDATE computed_days SET basis_id = $2, left_under = NULL WHERE day = $1::text::date


-- name: roll_up_settings
-- Settings for computing a day, for this transaction only. A million values are sorted in memory. The users are sorted
-- on their own (PostgreSQL 16 and later would sort whole rows by user first, on disk). JIT compilation is off.
SELECT set_config(wanted.name, wanted.value, true)
FROM (VALUES ('work_mem', '64MB'), ('enable_presorted_aggregate', 'off'), ('jit', 'off')) AS wanted (name, value)
WHERE current_setting(wanted.name, true) IS NOT NULL


-- name: state_of_day
-- The state of a day: whether its rows have changed since it was computed, its basis, and its age.
-- $1 day, as in the marks  $2 day
SELECT
    EXISTS (SELECT FROM touched_days WHERE touched_days.day = $1::date) AS touched,
    history.date IS NOT NULL AS has_row,
    history.total_dialogues,
    extract(epoch FROM now() AT TIME ZONE 'UTC' - history.computed_at)::float8 AS age,
    computed.basis_id,
    computed.left_under,
    basis.time_zone
FROM (SELECT $2::text::date AS day) AS wanted
LEFT JOIN rag_metrics_history AS history ON date(history.date) = wanted.day
LEFT JOIN computed_days AS computed ON computed.day = wanted.day
LEFT JOIN rollup_basis AS basis ON basis.id = computed.basis_id


-- name: stored_day
-- A stored day, with the figure that has no column in rag_metrics_history.
-- $1 day
SELECT history.*, computed.ingest_delay_p95
FROM rag_metrics_history AS history
LEFT JOIN computed_days AS computed ON computed.day = date(history.date)
WHERE date(history.date) = $1::text::date


-- name: touch_days
-- Mark days whose rows have changed, so that the roll-up computes them again. Marks are only added, so writers never
-- wait.
-- $1 days
INSERT INTO touched_days (day) SELECT unnest($1::date[])


-- name: touch_days_without_row
-- Mark days that have no row yet. A day whose row has another basis needs no mark: its basis shows that it is due.
-- $1 days
INSERT INTO touched_days (day)
SELECT wanted.day
FROM unnest($1::date[]) AS wanted (day)
WHERE NOT EXISTS (SELECT FROM rag_metrics_history WHERE date(date) = wanted.day)


-- name: use_basis
-- The number of a business time zone and objectives, without putting them in force.
-- $1 time zone  $2 objectives
INSERT INTO rollup_basis AS basis (time_zone, objectives) VALUES ($1, $2::jsonb)
ON CONFLICT (time_zone, md5(objectives::text)) DO UPDATE SET time_zone = excluded.time_zone
RETURNING id


-- name: wait_to_lead_rollup
-- Wait until this transaction may roll up.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0))


-- name: write_day
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
