-- Lock the plugins that are reported of, in a statement of its own: what a report leaves out then stays as another
-- transaction has committed it meanwhile.
SELECT name FROM plugin_registry WHERE name IN (SELECT name FROM stage_plugin) ORDER BY name FOR UPDATE
