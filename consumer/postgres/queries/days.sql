-- Statements about rag_metrics_history, and the tables of the roll-up: touched_days, computed_days, rollup_basis,
-- rollup_buckets.


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
-- The due days, newest first, because today matters most: days whose rows have changed, days of another basis, large days
-- that have ended since their sums were computed, and today if it has a row. A day that was computed just now can wait: another replica has done it.
-- $1 the basis in force  $2 today  $3 seconds for which a row is fresh
WITH stale AS (
    SELECT day FROM touched_days
    UNION
    SELECT day
    FROM rollup_buckets
    WHERE day IS NOT NULL AND computed_at < ends_at AND ends_at <= now() AT TIME ZONE 'UTC'
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


-- name: figures_of_buckets
-- The figures of a day from its sums. They equal those of `figures_of_day`. Instead of percentiles, it returns the values
-- and their counts.
-- $1 start of the day  $2 its end, both UTC
SELECT
    dialogues AS total_dialogues,
    unique_users,
    (cited_dialogues * 100.0 / nullif(dialogues, 0))::numeric(5,2) AS citation_rate,
    citations AS citation_count,
    latencies,
    latency_counts,
    cost_jpy::numeric(16,2) AS total_cost,
    (cost_jpy / nullif(costs, 0))::numeric(10,2) AS cost_per_answer,
    prompt_tokens,
    completion_tokens,
    total_tokens,
    (relevance / nullif(relevances, 0))::numeric(3,2) AS avg_relevance_score,
    feedback_positive,
    feedback_neutral,
    feedback_negative,
    ingest_delays,
    ingest_delay_counts
FROM rollup_buckets
WHERE begins_at = $1 AND ends_at = $2


-- name: figures_of_day
-- The exact figures of one day from its rows, each with the precision of its column in rag_metrics_history. One pass
-- over the rows, which the index on created_at finds. The inner query counts the citations once, because each count has
-- to parse the document; OFFSET 0 keeps PostgreSQL from merging the two queries. Delays are rounded as in
-- `update_buckets`. Run it with `roll_up_settings`.
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
    percentile_cont(0.95) WITHIN GROUP (ORDER BY ingest_delay) / 1000 AS ingest_delay_p95
FROM (
    SELECT
        user_id, latency_ms, token_cost_jpy, prompt_tokens, completion_tokens, total_tokens, relevance_score,
        user_feedback,
        CASE WHEN jsonb_typeof(citations) = 'array' THEN jsonb_array_length(citations) ELSE 0 END AS citations,
        CASE
            WHEN ingested_at = 'infinity' THEN NULL
            WHEN ingested_at <= created_at THEN 0
            WHEN ingested_at - created_at < interval '10 seconds'
                THEN round(date_part('epoch', ingested_at - created_at) * 1000)
            WHEN ingested_at - created_at < interval '10000 seconds'
                THEN round(date_part('epoch', ingested_at - created_at)) * 1000
            ELSE round(date_part('epoch', ingested_at - created_at) / 60) * 60000
        END AS ingest_delay
    FROM ai_dialogue_log
    WHERE created_at >= $1 AND created_at < $2
    OFFSET 0
) AS dialogue


-- name: forget_touched_day
-- Delete the marks of a day that is computed next. Marks of transactions that commit after this statement began stay.
-- The statement that computes runs later, so it sees at least the rows of every mark deleted here. Also delete the sums of
-- every bucket and day that overlaps the day, because they are not updated. Returns the marked buckets that are not in the
-- day: a replica with another time zone has marked them.
-- $1 day  $2 its start  $3 its end, both UTC. No day is longer than two days, so the index finds the buckets.
WITH forgotten AS (
    DELETE FROM touched_days WHERE day = $1::date RETURNING bucket
),
dropped AS (
    DELETE FROM rollup_buckets
    WHERE begins_at > $2::timestamp - interval '2 days' AND begins_at < $3::timestamp AND ends_at > $2
)
SELECT DISTINCT bucket FROM forgotten WHERE bucket < $2 OR bucket >= $3


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
-- The state of a day: whether it is marked, whether no mark stands for the whole day, its basis, and its age.
-- $1 day, as in the marks  $2 day
SELECT
    EXISTS (SELECT FROM touched_days WHERE touched_days.day = $1::date) AS touched,
    NOT EXISTS (SELECT FROM touched_days WHERE touched_days.day = $1 AND bucket IS NULL) AS touched_in_buckets,
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
-- $1 days  $2 for each day the start of the bucket that has changed, UTC; NULL or missing: the whole day
INSERT INTO touched_days (day, bucket) SELECT * FROM unnest($1::date[], $2::timestamp[])


-- name: touch_days_without_row
-- Mark days that have no row yet. A day whose row has another basis needs no mark: its basis shows that it is due.
-- $1 days
INSERT INTO touched_days (day)
SELECT wanted.day
FROM unnest($1::date[]) AS wanted (day)
WHERE NOT EXISTS (SELECT FROM rag_metrics_history WHERE date(date) = wanted.day)


-- name: update_buckets
-- Bring the buckets of a day up to date with its rows, then the sums of the day, and delete the marks of the day. Only
-- marked buckets are computed from the rows, and the sums of the day change by the differences. All buckets are computed
-- if the day has no sums, if a replica of an older version has computed the day since, or if a mark stands for the whole
-- day. A user who is new in the marked buckets counts as new in the day if no other bucket of the day has a row of this
-- user. An index finds such rows.
-- It is one statement, because it must see marks and rows in the same state: if it does not see a mark, it must not see
-- the rows of this mark either. So it also computes buckets that are marked for another day, by a replica with another
-- time zone; that mark stays. Returns the marked buckets that are not in the day. Run it with `roll_up_settings`.
-- $1 day  $2 its start  $3 its end, both UTC
WITH forgotten AS (
    DELETE FROM touched_days WHERE day = $1::date RETURNING bucket
),
scope AS (
    SELECT
        EXISTS (SELECT FROM forgotten WHERE bucket IS NULL)
        OR NOT EXISTS (
            SELECT
            FROM rollup_buckets JOIN rag_metrics_history AS history ON date(history.date) = $1
            WHERE begins_at = $2 AND ends_at = $3 AND rollup_buckets.computed_at = history.computed_at
        ) AS is_whole
),
stale AS (
    SELECT bucket AS begins_at
    FROM touched_days, scope
    WHERE NOT is_whole AND bucket >= $2 AND bucket < $3
    GROUP BY bucket
    UNION ALL
    SELECT generate_series($2::timestamp, $3::timestamp - interval '15 minutes', interval '15 minutes')
    FROM scope
    WHERE is_whole
),
fresh AS MATERIALIZED (
    SELECT stale.begins_at, stale.begins_at + interval '15 minutes' AS ends_at, computed.*, 1 AS sign
    FROM stale CROSS JOIN LATERAL (
        WITH dialogue AS MATERIALIZED (
            SELECT
                user_id, latency_ms, token_cost_jpy, prompt_tokens, completion_tokens, total_tokens, relevance_score,
                user_feedback,
                CASE WHEN jsonb_typeof(citations) = 'array' THEN jsonb_array_length(citations) ELSE 0 END AS citations,
                CASE
                    WHEN ingested_at = 'infinity' THEN NULL
                    WHEN ingested_at <= created_at THEN 0
                    WHEN ingested_at - created_at < interval '10 seconds'
                        THEN round(date_part('epoch', ingested_at - created_at) * 1000)
                    WHEN ingested_at - created_at < interval '10000 seconds'
                        THEN round(date_part('epoch', ingested_at - created_at)) * 1000
                    ELSE round(date_part('epoch', ingested_at - created_at) / 60) * 60000
                END::bigint AS ingest_delay
            FROM ai_dialogue_log
            WHERE created_at >= stale.begins_at AND created_at < stale.begins_at + interval '15 minutes'
        ),
        latency AS (
            SELECT latency_ms AS value, count(*)::int AS n FROM dialogue WHERE latency_ms IS NOT NULL GROUP BY latency_ms
        ),
        delay AS (
            SELECT ingest_delay AS value, count(*)::int AS n
            FROM dialogue
            WHERE ingest_delay IS NOT NULL
            GROUP BY ingest_delay
        ),
        person AS (
            SELECT DISTINCT user_id FROM dialogue
        )
        SELECT
            count(*)::int AS dialogues,
            (count(*) FILTER (WHERE citations > 0))::int AS cited_dialogues,
            coalesce(sum(citations), 0)::bigint AS citations,
            coalesce(sum(token_cost_jpy), 0) AS cost_jpy,
            count(token_cost_jpy)::int AS costs,
            coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens,
            coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
            coalesce(sum(total_tokens), 0)::bigint AS total_tokens,
            coalesce(sum(relevance_score), 0) AS relevance,
            count(relevance_score)::int AS relevances,
            (count(*) FILTER (WHERE user_feedback = 1))::int AS feedback_positive,
            (count(*) FILTER (WHERE user_feedback = 0))::int AS feedback_neutral,
            (count(*) FILTER (WHERE user_feedback = -1))::int AS feedback_negative,
            (SELECT coalesce(array_agg(value ORDER BY value), '{}') FROM latency) AS latencies,
            (SELECT coalesce(array_agg(n ORDER BY value), '{}') FROM latency) AS latency_counts,
            (SELECT coalesce(array_agg(value ORDER BY value), '{}') FROM delay) AS ingest_delays,
            (SELECT coalesce(array_agg(n ORDER BY value), '{}') FROM delay) AS ingest_delay_counts,
            (SELECT count(*) FROM person)::int AS unique_users,
            (SELECT coalesce(array_agg(user_id), '{}') FROM person) AS users
        FROM dialogue
    ) AS computed
),
before AS MATERIALIZED (
    SELECT
        begins_at, ends_at, dialogues, cited_dialogues, citations, cost_jpy, costs, prompt_tokens, completion_tokens,
        total_tokens, relevance, relevances, feedback_positive, feedback_neutral, feedback_negative, latencies,
        latency_counts, ingest_delays, ingest_delay_counts, unique_users, users,
        CASE WHEN day IS NULL THEN -1 ELSE 1 END AS sign
    FROM rollup_buckets, scope
    WHERE NOT is_whole AND (
        (begins_at = $2 AND ends_at = $3)
        OR (begins_at IN (SELECT stale.begins_at FROM stale) AND ends_at = begins_at + interval '15 minutes')
    )
),
part AS NOT MATERIALIZED (
    SELECT * FROM fresh UNION ALL SELECT * FROM before
),
latency AS (
    SELECT value, sum(sign * n)::int AS n
    FROM part, unnest(latencies, latency_counts) AS counted (value, n)
    GROUP BY value
    HAVING sum(sign * n) <> 0
),
delay AS (
    SELECT value, sum(sign * n)::int AS n
    FROM part, unnest(ingest_delays, ingest_delay_counts) AS counted (value, n)
    GROUP BY value
    HAVING sum(sign * n) <> 0
),
person AS (
    (
        SELECT unnest(users) AS user_id, 1 AS sign FROM fresh, scope WHERE NOT is_whole
        EXCEPT
        SELECT unnest(users), 1 FROM before
    )
    UNION ALL
    (SELECT unnest(users), -1 FROM before EXCEPT SELECT unnest(users), -1 FROM fresh)
),
only_here AS (
    SELECT coalesce(sum(sign), 0) AS users
    FROM person
    WHERE (
        SELECT true
        FROM ai_dialogue_log
        WHERE ai_dialogue_log.user_id = person.user_id AND created_at >= $2 AND created_at < $3 AND NOT EXISTS (
            SELECT FROM stale WHERE created_at >= stale.begins_at AND created_at < stale.begins_at + interval '15 minutes'
        )
        LIMIT 1  -- makes PostgreSQL look up each user in the index, also with outdated statistics
    ) IS NULL
),
day AS (
    SELECT
        $2::timestamp AS begins_at, $3::timestamp AS ends_at, sum(sign * dialogues), sum(sign * cited_dialogues),
        sum(sign * citations), sum(sign * cost_jpy), sum(sign * costs), sum(sign * prompt_tokens),
        sum(sign * completion_tokens), sum(sign * total_tokens), sum(sign * relevance), sum(sign * relevances),
        sum(sign * feedback_positive), sum(sign * feedback_neutral), sum(sign * feedback_negative),
        (SELECT coalesce(array_agg(value ORDER BY value), '{}') FROM latency),
        (SELECT coalesce(array_agg(n ORDER BY value), '{}') FROM latency),
        (SELECT coalesce(array_agg(value ORDER BY value), '{}') FROM delay),
        (SELECT coalesce(array_agg(n ORDER BY value), '{}') FROM delay),
        CASE
            -- count(DISTINCT) can sort on disk; EXCEPT would keep all users in memory.
            WHEN (SELECT is_whole FROM scope) THEN (SELECT count(DISTINCT one) FROM fresh, unnest(users) AS one)
            ELSE (SELECT unique_users FROM before WHERE users IS NULL) + (SELECT users FROM only_here)
        END,
        NULL::uuid[], $1::date
    FROM part
),
written AS (
    INSERT INTO rollup_buckets (
        begins_at, ends_at, dialogues, cited_dialogues, citations, cost_jpy, costs, prompt_tokens, completion_tokens,
        total_tokens, relevance, relevances, feedback_positive, feedback_neutral, feedback_negative, latencies,
        latency_counts, ingest_delays, ingest_delay_counts, unique_users, users, day, computed_at
    )
    SELECT day.*, now() AT TIME ZONE 'UTC' FROM day
    UNION ALL
    SELECT
        begins_at, ends_at, dialogues, cited_dialogues, citations, cost_jpy, costs, prompt_tokens, completion_tokens,
        total_tokens, relevance, relevances, feedback_positive, feedback_neutral, feedback_negative, latencies,
        latency_counts, ingest_delays, ingest_delay_counts, unique_users, users, NULL, now() AT TIME ZONE 'UTC'
    FROM fresh
    WHERE dialogues > 0
    ON CONFLICT (begins_at, ends_at) DO UPDATE SET
        dialogues = excluded.dialogues,
        cited_dialogues = excluded.cited_dialogues,
        citations = excluded.citations,
        cost_jpy = excluded.cost_jpy,
        costs = excluded.costs,
        prompt_tokens = excluded.prompt_tokens,
        completion_tokens = excluded.completion_tokens,
        total_tokens = excluded.total_tokens,
        relevance = excluded.relevance,
        relevances = excluded.relevances,
        feedback_positive = excluded.feedback_positive,
        feedback_neutral = excluded.feedback_neutral,
        feedback_negative = excluded.feedback_negative,
        latencies = excluded.latencies,
        latency_counts = excluded.latency_counts,
        ingest_delays = excluded.ingest_delays,
        ingest_delay_counts = excluded.ingest_delay_counts,
        unique_users = excluded.unique_users,
        users = excluded.users,
        day = excluded.day,
        computed_at = excluded.computed_at
),
dropped AS (  -- empty buckets, and sums of days in another time zone
    DELETE FROM rollup_buckets
    WHERE begins_at > $2 - interval '2 days' AND begins_at < $3 AND ends_at > $2 AND NOT (begins_at = $2 AND ends_at = $3)
      AND (
        day IS NOT NULL
        OR begins_at IN (SELECT fresh.begins_at FROM fresh WHERE dialogues = 0)
      )
)
SELECT DISTINCT bucket FROM forgotten WHERE bucket < $2 OR bucket >= $3


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
