-- Let in plugins that nobody knows yet and that say what they are, as of no report so far. Two replicas that do so at once
-- wait for each other here, and the later one finds the row: what both have to say is then merged under its lock.
INSERT INTO plugin_registry (name, source, capabilities, version)
SELECT DISTINCT ON (name) name, source, capabilities, version
FROM stage_plugin
WHERE source IS NOT NULL AND capabilities IS NOT NULL AND version IS NOT NULL
  AND NOT EXISTS (SELECT FROM plugin_registry AS known WHERE known.name = stage_plugin.name)
ORDER BY name
ON CONFLICT (name) DO NOTHING
