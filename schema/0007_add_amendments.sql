-- 0007_add_amendments: what users say of answers, and what checks say of provenance, kept apart from the rows they change.
--
-- Such an event may come before its row, or twice, or in the wrong order. Each is kept here; the row is changed in the
-- same transaction where it is there, and when it comes where it is not. plugin_registry learns when it was reported to
-- last, and what a plugin's config has to look like.

BEGIN;
SET LOCAL lock_timeout = '5s';

CREATE TABLE IF NOT EXISTS kept_feedback (
  dialogue_id UUID CONSTRAINT kept_feedback_pkey PRIMARY KEY,
  user_feedback INTEGER NOT NULL CONSTRAINT kept_feedback_user_feedback_check CHECK (user_feedback IN (-1, 0, 1)),
  given_at TIMESTAMP NOT NULL,
  applied_at TIMESTAMPTZ
);

-- What waits for its row: most of the time nothing, so that looking costs nothing.
CREATE INDEX IF NOT EXISTS idx_kept_feedback_waiting ON kept_feedback (dialogue_id) WHERE applied_at IS NULL;

-- license_type is text here, so that the type can be dropped with the tables of 0002 whatever becomes of this one.
CREATE TABLE IF NOT EXISTS kept_verifications (
  provenance_id UUID NOT NULL,
  verified_at TIMESTAMP NOT NULL,
  is_statement BOOLEAN DEFAULT false NOT NULL,
  permission_flag BOOLEAN,
  external_share_consent BOOLEAN,
  license_type TEXT,
  applied_at TIMESTAMPTZ,
  CONSTRAINT kept_verifications_pkey PRIMARY KEY (provenance_id, verified_at, is_statement)
);

CREATE INDEX IF NOT EXISTS idx_kept_verifications_waiting ON kept_verifications (provenance_id)
WHERE applied_at IS NULL;

ALTER TABLE plugin_registry ADD COLUMN IF NOT EXISTS reported_at TIMESTAMP;

-- The members that are known are of their types; others may be there. A null counts as absent.
CREATE OR REPLACE FUNCTION plugin_config_is_valid(config JSONB) RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $function$
  SELECT CASE jsonb_typeof(config) WHEN 'object' THEN
    coalesce(jsonb_typeof(config -> 'endpoint'), 'null') IN ('null', 'string')
    AND coalesce(jsonb_typeof(config -> 'poll_interval_s'), 'null') IN ('null', 'number')
    AND coalesce(jsonb_typeof(config -> 'timeout_s'), 'null') IN ('null', 'number')
    AND coalesce(jsonb_typeof(config -> 'languages'), 'null') IN ('null', 'array')
    AND coalesce(jsonb_typeof(config -> 'options'), 'null') IN ('null', 'object')
    AND CASE coalesce(jsonb_typeof(config -> 'auth'), 'null')
      WHEN 'null' THEN true
      WHEN 'object' THEN
        coalesce(config #>> '{auth,type}' IN ('none', 'api_key', 'basic', 'oauth2'), false)
        AND coalesce(jsonb_typeof(config #> '{auth,secret_ref}'), 'null') IN ('null', 'string')
      ELSE false
    END
    AND NOT jsonb_path_exists(config, '$.poll_interval_s ? (@ <= 0)')
    AND NOT jsonb_path_exists(config, '$.timeout_s ? (@ <= 0)')
    AND NOT coalesce(
      jsonb_path_exists(config, 'strict $.languages[*] ? (@.type() != "string")', silent => true), false
    )
  ELSE config IS NULL END
$function$;

DO $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_constraint
    WHERE conrelid = 'plugin_registry'::regclass AND conname = 'plugin_registry_config_check'
  ) THEN
    ALTER TABLE plugin_registry
      ADD CONSTRAINT plugin_registry_config_check CHECK (plugin_config_is_valid(config)) NOT VALID;
  END IF;
END
$$;

COMMENT ON TABLE kept_feedback IS 'The newest verdict on each dialogue, whether or not the dialogue is there yet';
COMMENT ON COLUMN kept_feedback.dialogue_id IS 'The dialogue it is about: ai_dialogue_log(id), which may come later';
COMMENT ON COLUMN kept_feedback.user_feedback IS 'The verdict: -1 negative, 0 neutral, 1 positive';
COMMENT ON COLUMN kept_feedback.given_at IS 'When the user gave it, UTC; of several the newest counts';
COMMENT ON COLUMN kept_feedback.applied_at IS 'When it was written into the dialogue; NULL while that is not there';
COMMENT ON CONSTRAINT kept_feedback_user_feedback_check ON kept_feedback IS 'The same values as in ai_dialogue_log';

COMMENT ON TABLE kept_verifications IS 'Every check of provenance, and what each row said itself before its first one; of each field the newest counts';
COMMENT ON COLUMN kept_verifications.provenance_id IS 'What was checked: provenance(id), which may come later';
COMMENT ON COLUMN kept_verifications.verified_at IS 'When it was checked, UTC; of a statement its last_verified_at, or -infinity';
COMMENT ON COLUMN kept_verifications.is_statement IS 'Whether this is what the row itself said, and not a check';
COMMENT ON COLUMN kept_verifications.permission_flag IS 'Whether using it is permitted; NULL: not stated';
COMMENT ON COLUMN kept_verifications.external_share_consent IS 'Whether sharing it outside was consented to; NULL: not stated';
COMMENT ON COLUMN kept_verifications.license_type IS 'Under which terms it may be used; NULL: not stated';
COMMENT ON COLUMN kept_verifications.applied_at IS 'When it was taken into account in the row; NULL while that is not there';

COMMENT ON COLUMN plugin_registry.reported_at IS 'When the newest report of it that counted was made, UTC; NULL: no event has named it';
COMMENT ON FUNCTION plugin_config_is_valid(JSONB) IS 'Whether a plugin''s config has its known members of their types; the same as the event''s JSON Schema';

COMMIT;

-- Check the rows that were there before, without holding anybody up.
BEGIN;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
ALTER TABLE plugin_registry VALIDATE CONSTRAINT plugin_registry_config_check;
COMMIT;
