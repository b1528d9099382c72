-- Mark plugins in use as unhealthy if they have not reported for too long. Their next report ends this.
-- $1 seconds of silence
UPDATE plugin_registry
SET health_status = 'unhealthy'
WHERE enabled
  AND health_status <> 'unhealthy'
  AND coalesce(greatest(reported_at, last_health_check), created_at)
      < now() AT TIME ZONE 'UTC' - $1::float8 * interval '1 second'
RETURNING name
