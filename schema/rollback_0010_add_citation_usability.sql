-- Rollback of 0010_add_citation_usability: no data is lost.
-- squawk-ignore-file ban-drop-function, ban-drop-view

BEGIN;
SET LOCAL lock_timeout = '5s';
DROP VIEW IF EXISTS answers_citing_unusable_sources;
DROP VIEW IF EXISTS source_usability;
DROP FUNCTION IF EXISTS usage_problems(TEXT, BOOLEAN, BOOLEAN, TIMESTAMP, TIMESTAMP);
DROP FUNCTION IF EXISTS spdx_license_id(TEXT);
COMMIT;
