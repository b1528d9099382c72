-- Statements about kept_feedback, kept_verifications and plugin_registry.


-- name: age_plugins
-- Mark plugins in use as unhealthy if they have not reported for too long. Their next report ends this.
-- $1 seconds of silence
UPDATE plugin_registry
SET health_status = 'unhealthy'
WHERE enabled
  AND health_status <> 'unhealthy'
  AND coalesce(greatest(reported_at, last_health_check), created_at)
      < now() AT TIME ZONE 'UTC' - $1::float8 * interval '1 second'
RETURNING name


-- name: announce_plugins
-- Insert unknown plugins that state the required fields, without the report itself. If two replicas do this at once,
-- they wait for each other here, and the later one finds the row. Both reports are then merged under the row's lock.
INSERT INTO plugin_registry (name, source, capabilities, version)
SELECT DISTINCT ON (name) name, source, capabilities, version
FROM stage_plugin
WHERE source IS NOT NULL AND capabilities IS NOT NULL AND version IS NOT NULL
  AND NOT EXISTS (SELECT FROM plugin_registry AS known WHERE known.name = stage_plugin.name)
ORDER BY name
ON CONFLICT (name) DO NOTHING


-- name: apply_feedback
-- Write waiting verdicts into their dialogues, if these are there. Returns created_at of each dialogue before and after
-- the update, and whether the row was changed. The two times differ if a fold or a trigger of the owner changes
-- created_at. Such a trigger may also skip the row.
-- $1 dialogues
WITH waiting AS (
    SELECT dialogue_id, user_feedback
    FROM kept_feedback
    WHERE applied_at IS NULL AND dialogue_id = ANY($1::uuid[])
    ORDER BY dialogue_id
    FOR UPDATE
),
changed AS (
    UPDATE ai_dialogue_log AS dialogue
    SET user_feedback = waiting.user_feedback
    FROM waiting
    WHERE dialogue.id = waiting.dialogue_id
    RETURNING dialogue.id, dialogue.created_at
),
settled AS (
    UPDATE kept_feedback AS feedback
    SET applied_at = now()
    FROM changed
    WHERE feedback.dialogue_id = changed.id
)
SELECT ARRAY[dialogue.created_at, changed.created_at] AS moments, changed.id IS NOT NULL AS is_changed
FROM waiting
JOIN ai_dialogue_log AS dialogue ON dialogue.id = waiting.dialogue_id
LEFT JOIN changed ON changed.id = dialogue.id


-- name: apply_verification
-- Write waiting checks into their provenance, if it is there. For each field, the newest check that states it counts,
-- whatever the order of arrival. The row's own values count as a check at its last_verified_at, or as older than all
-- checks; they are kept before the first check overwrites them. A field whose newest value comes from no waiting check
-- is not changed, because somebody may have corrected it by hand. Returns for each row whether it was changed: a
-- trigger of the owner may have left it out.
-- $1 provenance that this transaction has locked in an earlier statement: this one then sees every check that was
-- committed before the lock was had
WITH held AS MATERIALIZED (
    SELECT id, last_verified_at, permission_flag, external_share_consent, license_type
    FROM provenance
    WHERE id IN (
        SELECT provenance_id
        FROM kept_verifications
        WHERE applied_at IS NULL AND provenance_id = ANY($1::uuid[])
    )
),
stated AS (
    INSERT INTO kept_verifications (
        provenance_id, verified_at, is_statement, permission_flag, external_share_consent, license_type, applied_at
    )
    SELECT
        id, coalesce(last_verified_at, '-infinity'), true, permission_flag, external_share_consent,
        license_type::text, now()
    FROM held
    WHERE NOT EXISTS (
        SELECT FROM kept_verifications WHERE provenance_id = held.id AND is_statement
    )
    RETURNING provenance_id, verified_at, is_statement, permission_flag, external_share_consent, license_type
),
known AS (
    SELECT
        provenance_id, verified_at, is_statement, permission_flag, external_share_consent, license_type,
        applied_at IS NULL AS waits
    FROM kept_verifications
    WHERE provenance_id IN (SELECT id FROM held) AND sqlstate IS NULL
    UNION ALL
    SELECT
        provenance_id, verified_at, is_statement, permission_flag, external_share_consent, license_type, false
    FROM stated
),
-- For each field the newest value, if it comes from a waiting check. At the same time, a check counts before the row's
-- own values.
newest AS (
    SELECT
        provenance_id,
        max(verified_at) FILTER (WHERE NOT is_statement) AS verified_at,
        (array_agg(CASE WHEN waits THEN permission_flag END ORDER BY verified_at DESC, is_statement)
            FILTER (WHERE permission_flag IS NOT NULL))[1] AS permission_flag,
        (array_agg(CASE WHEN waits THEN external_share_consent END ORDER BY verified_at DESC, is_statement)
            FILTER (WHERE external_share_consent IS NOT NULL))[1] AS external_share_consent,
        (array_agg(CASE WHEN waits THEN license_type END ORDER BY verified_at DESC, is_statement)
            FILTER (WHERE license_type IS NOT NULL))[1] AS license_type
    FROM known
    GROUP BY provenance_id
),
changed AS (
    UPDATE provenance AS row
    SET last_verified_at = greatest(row.last_verified_at, newest.verified_at),
        permission_flag = coalesce(newest.permission_flag, row.permission_flag),
        external_share_consent = coalesce(newest.external_share_consent, row.external_share_consent),
        license_type = coalesce(newest.license_type::license_type, row.license_type)
    FROM newest
    WHERE row.id = newest.provenance_id
    RETURNING row.id
),
settled AS (
    UPDATE kept_verifications AS verification
    SET applied_at = now()
    FROM changed
    WHERE verification.provenance_id = changed.id AND verification.applied_at IS NULL
)
SELECT '{}'::timestamp[] AS moments, changed.id IS NOT NULL AS is_changed
FROM held
LEFT JOIN changed USING (id)


-- name: feedback_not_kept
-- Whether a staged verdict is neither kept nor older than the kept one: a trigger of the owner has left it out.
SELECT EXISTS (
    SELECT FROM stage_feedback AS staged
    LEFT JOIN kept_feedback AS kept USING (dialogue_id)
    WHERE kept.given_at IS NULL OR kept.given_at < staged.given_at
) AS skipped


-- name: feedback_waits
-- Whether any verdict waits for its dialogue.
SELECT EXISTS (SELECT FROM kept_feedback WHERE applied_at IS NULL) AS waits


-- name: keep_feedback
-- Keep the newest verdict on each dialogue. If two have the same time, keep the one that was read later.
INSERT INTO kept_feedback AS kept (dialogue_id, user_feedback, given_at)
SELECT DISTINCT ON (dialogue_id) dialogue_id, user_feedback, given_at
FROM stage_feedback
ORDER BY dialogue_id, given_at DESC, ctid DESC
ON CONFLICT (dialogue_id) DO UPDATE
SET user_feedback = excluded.user_feedback, given_at = excluded.given_at, applied_at = NULL,
    sqlstate = NULL
WHERE excluded.given_at >= kept.given_at


-- name: keep_plugin
-- Apply plugins' reports, the newest last. A field that a report leaves out is not changed. A report older than the
-- newest known one changes nothing. The first report of an unknown plugin has to state the required columns.
WITH counting AS (
    SELECT stage.*, stage.ctid AS place
    FROM stage_plugin AS stage
    LEFT JOIN plugin_registry AS known USING (name)
    WHERE known.reported_at IS NULL OR stage.reported_at >= known.reported_at
),
newest AS (
    SELECT
        name,
        max(reported_at) AS reported_at,
        max(reported_at) FILTER (WHERE health_status IS NOT NULL) AS checked_at,
        (array_agg(source ORDER BY reported_at DESC, place DESC) FILTER (WHERE source IS NOT NULL))[1] AS source,
        (array_agg(capabilities ORDER BY reported_at DESC, place DESC)
            FILTER (WHERE capabilities IS NOT NULL))[1] AS capabilities,
        (array_agg(version ORDER BY reported_at DESC, place DESC) FILTER (WHERE version IS NOT NULL))[1] AS version,
        (array_agg(enabled ORDER BY reported_at DESC, place DESC) FILTER (WHERE enabled IS NOT NULL))[1] AS enabled,
        (array_agg(health_status ORDER BY reported_at DESC, place DESC)
            FILTER (WHERE health_status IS NOT NULL))[1] AS health_status,
        (array_agg(config ORDER BY reported_at DESC, place DESC) FILTER (WHERE config IS NOT NULL))[1] AS config
    FROM counting
    GROUP BY name
)
INSERT INTO plugin_registry AS known (
    name, source, capabilities, version, enabled, health_status, last_health_check, config, reported_at
)
SELECT
    newest.name,
    coalesce(newest.source, before.source),
    coalesce(newest.capabilities, before.capabilities),
    coalesce(newest.version, before.version),
    coalesce(newest.enabled, before.enabled, true),
    coalesce(newest.health_status, before.health_status, 'unknown'),
    coalesce(newest.checked_at, before.last_health_check),
    coalesce(newest.config, before.config),
    newest.reported_at
FROM newest
LEFT JOIN plugin_registry AS before USING (name)
ORDER BY newest.name
ON CONFLICT (name) DO UPDATE
SET source = excluded.source,
    capabilities = excluded.capabilities,
    version = excluded.version,
    enabled = excluded.enabled,
    health_status = excluded.health_status,
    last_health_check = excluded.last_health_check,
    config = excluded.config,
    reported_at = excluded.reported_at
WHERE known.reported_at IS NULL OR excluded.reported_at >= known.reported_at


-- name: keep_verification
-- Keep every check. If two have the same time, each field keeps the value that was read last.
INSERT INTO kept_verifications AS kept
    (provenance_id, verified_at, permission_flag, external_share_consent, license_type)
SELECT
    provenance_id,
    verified_at,
    (array_agg(permission_flag ORDER BY ctid DESC) FILTER (WHERE permission_flag IS NOT NULL))[1],
    (array_agg(external_share_consent ORDER BY ctid DESC) FILTER (WHERE external_share_consent IS NOT NULL))[1],
    (array_agg(license_type::text ORDER BY ctid DESC) FILTER (WHERE license_type IS NOT NULL))[1]
FROM stage_verification
GROUP BY provenance_id, verified_at
ORDER BY provenance_id, verified_at
ON CONFLICT (provenance_id, verified_at, is_statement) DO UPDATE
SET permission_flag = coalesce(excluded.permission_flag, kept.permission_flag),
    external_share_consent = coalesce(excluded.external_share_consent, kept.external_share_consent),
    license_type = coalesce(excluded.license_type, kept.license_type),
    applied_at = NULL,
    sqlstate = NULL


-- name: lock_plugins
-- Lock the reported plugins, in a statement of its own. The next statement then sees what another transaction has
-- committed meanwhile, and a field that a report leaves out keeps that value.
SELECT name FROM plugin_registry WHERE name IN (SELECT name FROM stage_plugin) ORDER BY name FOR UPDATE


-- name: lock_verified
-- Lock the provenance that checks wait for, in a statement of its own. The statement that applies the checks then sees
-- all checks that other transactions have committed meanwhile, so an older check cannot undo a newer one. Only the
-- returned rows may be changed: provenance that arrives later would be locked too late.
-- $1 provenance
SELECT id
FROM provenance
WHERE id IN (
    SELECT provenance_id
    FROM kept_verifications
    WHERE applied_at IS NULL AND provenance_id = ANY($1::uuid[])
)
ORDER BY id
FOR UPDATE


-- name: news_of_feedback
-- The places of the staged verdicts that are new: verdicts newer than the kept one of the dialogue. If several have the
-- same time, only the last one, because this one is kept. Run it before the verdicts are kept.
SELECT DISTINCT ON (staged.dialogue_id, staged.given_at) staged.place
FROM (
    SELECT dialogue_id, given_at, row_number() OVER (ORDER BY ctid) - 1 AS place FROM stage_feedback
) AS staged
LEFT JOIN kept_feedback AS kept ON kept.dialogue_id = staged.dialogue_id
WHERE kept.given_at IS NULL OR staged.given_at > kept.given_at
ORDER BY staged.dialogue_id, staged.given_at, staged.place DESC


-- name: page_waiting_feedback
-- The next waiting verdicts, in order of their dialogues: the last dialogue, and the dialogues that are there.
-- $1 from this dialogue on  $2 at most
WITH waiting AS MATERIALIZED (
    SELECT dialogue_id AS id
    FROM kept_feedback
    WHERE applied_at IS NULL AND dialogue_id >= $1
    ORDER BY dialogue_id
    LIMIT $2
),
present AS (
    SELECT id FROM ai_dialogue_log WHERE id IN (SELECT id FROM waiting)
)
SELECT
    (SELECT id FROM waiting ORDER BY id DESC LIMIT 1) AS last,
    ARRAY(SELECT id FROM present ORDER BY id) AS present


-- name: page_waiting_verifications
-- The next waiting checks, in order of their provenance: the last provenance, and the provenance that is there.
-- $1 from this provenance on  $2 at most
WITH waiting AS MATERIALIZED (
    SELECT DISTINCT provenance_id AS id
    FROM kept_verifications
    WHERE applied_at IS NULL AND provenance_id >= $1
    ORDER BY provenance_id
    LIMIT $2
),
present AS (
    SELECT id FROM provenance WHERE id IN (SELECT id FROM waiting)
)
SELECT
    (SELECT id FROM waiting ORDER BY id DESC LIMIT 1) AS last,
    ARRAY(SELECT id FROM present ORDER BY id) AS present


-- name: plugin_not_kept
-- Whether a staged report is newer than the known state of its plugin: a trigger of the owner has left it out.
SELECT EXISTS (
    SELECT FROM stage_plugin AS staged
    LEFT JOIN plugin_registry AS known USING (name)
    WHERE known.reported_at IS NULL OR known.reported_at < staged.reported_at
) AS skipped


-- name: set_feedback_aside
-- Set aside a verdict that the database refuses to write into its dialogue.
-- $1 dialogue  $2 SQLSTATE
UPDATE kept_feedback SET applied_at = now(), sqlstate = $2 WHERE dialogue_id = $1 AND applied_at IS NULL


-- name: set_verification_aside
-- Set aside checks that the database refuses to write into their provenance.
-- $1 provenance  $2 SQLSTATE
UPDATE kept_verifications SET applied_at = now(), sqlstate = $2 WHERE provenance_id = $1 AND applied_at IS NULL


-- name: verification_not_kept
-- Whether a staged check is not kept: a trigger of the owner has left it out.
SELECT EXISTS (
    SELECT FROM stage_verification AS staged
    LEFT JOIN kept_verifications AS kept USING (provenance_id, verified_at)
    WHERE kept.provenance_id IS NULL
) AS skipped


-- name: verification_waits
-- Whether any check waits for its provenance.
SELECT EXISTS (SELECT FROM kept_verifications WHERE applied_at IS NULL) AS waits
