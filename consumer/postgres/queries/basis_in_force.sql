-- The basis in force for computing days, and the current time.
SELECT id, time_zone, objectives, adopted_by, now() AT TIME ZONE 'UTC' AS now
FROM rollup_basis
WHERE adopted_at IS NOT NULL
ORDER BY adopted_at DESC
LIMIT 1
