-- Marked days of a month. They have to be rolled up before their rows leave the table.
-- $1 month  $2 business time zone
SELECT DISTINCT day
FROM touched_days
WHERE day BETWEEN ($1::date::timestamp AT TIME ZONE 'UTC' AT TIME ZONE $2)::date
  AND (($1::date + interval '1 month' - interval '1 microsecond') AT TIME ZONE 'UTC' AT TIME ZONE $2)::date
ORDER BY day
