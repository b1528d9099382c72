-- Whether rows of a day were archived, all or some: a month ends at midnight UTC, a day in the business time zone.
-- $1 day  $2 business time zone
SELECT EXISTS (
    SELECT FROM partition_archives
    WHERE month < ($1::date + 1)::timestamp AT TIME ZONE $2 AT TIME ZONE 'UTC'
      AND month + interval '1 month' > $1::date::timestamp AT TIME ZONE $2 AT TIME ZONE 'UTC'
) AS archived
