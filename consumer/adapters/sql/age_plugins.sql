-- Plugins in use that nobody has heard of for too long are unhealthy until they report again.
-- $1 seconds of silence
UPDATE plugin_registry
SET health_status = 'unhealthy'
WHERE enabled
  AND health_status <> 'unhealthy'
  AND coalesce(greatest(reported_at, last_health_check), created_at)
      < now() AT TIME ZONE 'UTC' - $1::float8 * interval '1 second'
RETURNING name
