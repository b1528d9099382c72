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
