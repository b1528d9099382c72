-- Whether some or all rows of a day were archived: a month ends at midnight UTC, a day in the business time zone.
-- $1 begin of the day, UTC  $2 its end, UTC
SELECT EXISTS (
    SELECT FROM partition_archives WHERE month < $2::timestamp AND month + interval '1 month' > $1::timestamp
) AS archived
