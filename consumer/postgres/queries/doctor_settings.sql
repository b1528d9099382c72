-- The named settings as a session of our role has them, and their possible values if these are a list. Unknown settings
-- are left out. Units are those of pg_settings.
-- $1 names
SELECT name, setting, enumvals AS choices FROM pg_settings WHERE name = ANY ($1::text[])
