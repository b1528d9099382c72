-- A month is back: its days count again, and are computed anew, but for those that another month has a part of that is
-- still away.
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
