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
