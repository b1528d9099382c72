-- The named settings as a session of our role has them; unknown ones are left out. Units are those of pg_settings.
-- $1 names
SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[])
