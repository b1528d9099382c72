-- Lock the reported plugins, in a statement of its own. The next statement then sees what another transaction has
-- committed meanwhile, and a field that a report leaves out keeps that value.
SELECT name FROM plugin_registry WHERE name IN (SELECT name FROM stage_plugin) ORDER BY name FOR UPDATE
