-- The named settings as a session of our role has them, and what each may be set to, where that is a list; unknown ones
-- are left out. Units are those of pg_settings.
-- $1 names
SELECT name, setting, enumvals AS choices FROM pg_settings WHERE name = ANY ($1::text[])
