-- Apply plugins' reports, the newest last. A field that a report leaves out is not changed. A report older than the
-- newest known one changes nothing. The first report of an unknown plugin has to state the required columns.
WITH counting AS (
    SELECT stage.*, stage.ctid AS place
    FROM stage_plugin AS stage
    LEFT JOIN plugin_registry AS known USING (name)
    WHERE known.reported_at IS NULL OR stage.reported_at >= known.reported_at
),
newest AS (
    SELECT
        name,
        max(reported_at) AS reported_at,
        max(reported_at) FILTER (WHERE health_status IS NOT NULL) AS checked_at,
        (array_agg(source ORDER BY reported_at DESC, place DESC) FILTER (WHERE source IS NOT NULL))[1] AS source,
        (array_agg(capabilities ORDER BY reported_at DESC, place DESC)
            FILTER (WHERE capabilities IS NOT NULL))[1] AS capabilities,
        (array_agg(version ORDER BY reported_at DESC, place DESC) FILTER (WHERE version IS NOT NULL))[1] AS version,
        (array_agg(enabled ORDER BY reported_at DESC, place DESC) FILTER (WHERE enabled IS NOT NULL))[1] AS enabled,
        (array_agg(health_status ORDER BY reported_at DESC, place DESC)
            FILTER (WHERE health_status IS NOT NULL))[1] AS health_status,
        (array_agg(config ORDER BY reported_at DESC, place DESC) FILTER (WHERE config IS NOT NULL))[1] AS config
    FROM counting
    GROUP BY name
)
INSERT INTO plugin_registry AS known (
    name, source, capabilities, version, enabled, health_status, last_health_check, config, reported_at
)
SELECT
    newest.name,
    coalesce(newest.source, before.source),
    coalesce(newest.capabilities, before.capabilities),
    coalesce(newest.version, before.version),
    coalesce(newest.enabled, before.enabled, true),
    coalesce(newest.health_status, before.health_status, 'unknown'),
    coalesce(newest.checked_at, before.last_health_check),
    coalesce(newest.config, before.config),
    newest.reported_at
FROM newest
LEFT JOIN plugin_registry AS before USING (name)
ORDER BY newest.name
ON CONFLICT (name) DO UPDATE
SET source = excluded.source,
    capabilities = excluded.capabilities,
    version = excluded.version,
    enabled = excluded.enabled,
    health_status = excluded.health_status,
    last_health_check = excluded.last_health_check,
    config = excluded.config,
    reported_at = excluded.reported_at
WHERE known.reported_at IS NULL OR excluded.reported_at >= known.reported_at
