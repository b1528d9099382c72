-- Insert a trial row that uses every default. The surrounding transaction is rolled back.
INSERT INTO plugin_registry (name, source, capabilities, version)
VALUES ('Test Plugin ' || gen_random_uuid(), 'test', '{"list": true}'::jsonb, '1.0.0')
RETURNING id::text AS id
