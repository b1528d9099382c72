-- Insert unknown plugins that state the required fields, without the report itself. If two replicas do this at once,
-- they wait for each other here, and the later one finds the row. Both reports are then merged under the row's lock.
INSERT INTO plugin_registry (name, source, capabilities, version)
SELECT DISTINCT ON (name) name, source, capabilities, version
FROM stage_plugin
WHERE source IS NOT NULL AND capabilities IS NOT NULL AND version IS NOT NULL
  AND NOT EXISTS (SELECT FROM plugin_registry AS known WHERE known.name = stage_plugin.name)
ORDER BY name
ON CONFLICT (name) DO NOTHING
