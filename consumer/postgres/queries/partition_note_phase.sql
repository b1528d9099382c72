-- Record that a step is done.
-- $1 its name
UPDATE partition_conversions
SET phase = $1, updated_at = now(), finished_at = CASE WHEN $1 IN ('done', 'aborted') THEN now() END
WHERE finished_at IS NULL
