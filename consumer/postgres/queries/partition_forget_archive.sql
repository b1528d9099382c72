-- Record that a month is restored. Its days count again and are marked, so that they are computed again. The roll-up
-- skips a day that also belongs to another, still archived month.
-- $1 month  $2 business time zone
WITH back AS (
    DELETE FROM partition_archives WHERE month = $1
)
INSERT INTO touched_days (day)
SELECT generate_series(
    ($1::date::timestamp AT TIME ZONE 'UTC' AT TIME ZONE $2)::date,
    (($1::date + interval '1 month' - interval '1 microsecond') AT TIME ZONE 'UTC' AT TIME ZONE $2)::date,
    interval '1 day'
)::date
