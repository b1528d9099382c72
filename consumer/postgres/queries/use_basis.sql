-- The number of a business time zone and objectives, without putting them in force.
-- $1 time zone  $2 objectives
INSERT INTO rollup_basis AS basis (time_zone, objectives) VALUES ($1, $2::jsonb)
ON CONFLICT (time_zone, md5(objectives::text)) DO UPDATE SET time_zone = excluded.time_zone
RETURNING id
