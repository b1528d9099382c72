-- Put a business time zone and objectives in force. The replica that starts last decides.
-- $1 time zone  $2 objectives  $3 who
INSERT INTO rollup_basis AS basis (time_zone, objectives, adopted_at, adopted_by)
VALUES ($1, $2::jsonb, clock_timestamp(), $3)
ON CONFLICT (time_zone, md5(objectives::text))
DO UPDATE SET adopted_at = excluded.adopted_at, adopted_by = excluded.adopted_by
