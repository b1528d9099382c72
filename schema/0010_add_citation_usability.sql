-- 0010_add_citation_usability: which answers cite sources whose licence, consent or retention no longer allows it.
--
-- Two views and a function; no table is touched. The views run with the rights of whoever asks (security_invoker), so that
-- row-level security holds in them as it does in the tables. docs/compliance.md has the rules in plain words.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- The enum does not keep the version of a Creative Commons licence: the current one stands for them all. Functions take
-- text, not the enum, so that DROP TYPE license_type needs no CASCADE.
CREATE OR REPLACE FUNCTION spdx_license_id(license TEXT) RETURNS TEXT
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE license
  WHEN 'cc0' THEN 'CC0-1.0'
  WHEN 'cc_by' THEN 'CC-BY-4.0'
  WHEN 'cc_by_sa' THEN 'CC-BY-SA-4.0'
  WHEN 'cc_by_nc' THEN 'CC-BY-NC-4.0'
  WHEN 'cc_by_nd' THEN 'CC-BY-ND-4.0'
  WHEN 'mit' THEN 'MIT'
  WHEN 'apache_2_0' THEN 'Apache-2.0'
  WHEN 'proprietary' THEN 'LicenseRef-Proprietary'
  WHEN 'unknown' THEN 'NOASSERTION'
END;

-- What stands against using a source now; empty: nothing. NULLs say that nobody has stated anything.
CREATE OR REPLACE FUNCTION usage_problems(
  license TEXT, permission_flag BOOLEAN, external_share_consent BOOLEAN, retention_ends_at TIMESTAMP, as_of TIMESTAMP
) RETURNS TEXT[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_remove(ARRAY[
  CASE WHEN permission_flag IS FALSE THEN 'permission_denied' END,
  CASE WHEN external_share_consent IS FALSE THEN 'consent_refused' END,
  CASE WHEN license = 'proprietary' AND permission_flag IS NOT TRUE THEN 'license_needs_permission' END,
  CASE WHEN license = 'unknown' AND permission_flag IS NOT TRUE THEN 'license_unknown' END,
  CASE WHEN retention_ends_at < as_of THEN 'retention_ended' END
], NULL);

-- Of several acquisitions of a source the newest one counts. What retention has taken out still says that it is over, as
-- long as the source was not acquired again.
CREATE OR REPLACE VIEW source_usability WITH (security_invoker = true) AS
SELECT
  newest.source_uri,
  newest.id AS provenance_id,
  newest.content_id,
  newest.license_type,
  spdx_license_id(newest.license_type::text) AS license_spdx,
  newest.permission_flag,
  newest.external_share_consent,
  newest.acquired_at,
  newest.acquired_by,
  newest.last_verified_at,
  retention_ends_at(newest.acquired_at, newest.retention_years) AS retention_ends_at,
  is_on_legal_hold(newest.access_policy) AS on_legal_hold,
  coalesce(newest.access_policy #>> '{c2pa,manifest_url}', newest.access_policy #>> '{c2pa,manifest_store_uri}')
    AS c2pa_manifest,
  newest.archived,
  usage_problems(
    newest.license_type::text, newest.permission_flag, newest.external_share_consent,
    retention_ends_at(newest.acquired_at, newest.retention_years), now() AT TIME ZONE 'UTC'
  ) AS problems
FROM (
  (
    SELECT DISTINCT ON (source_uri)
      source_uri, id, content_id, license_type, permission_flag, external_share_consent, acquired_at, acquired_by,
      last_verified_at, retention_years, access_policy, false AS archived
    FROM provenance
    ORDER BY source_uri, acquired_at DESC, id DESC
  )
  UNION ALL
  (
    SELECT DISTINCT ON (archive.provenance ->> 'source_uri')
      archive.provenance ->> 'source_uri', archive.id, past.content_id, past.license_type, past.permission_flag,
      past.external_share_consent, past.acquired_at, past.acquired_by, past.last_verified_at, past.retention_years,
      past.access_policy, true
    FROM retention_archive AS archive
    CROSS JOIN LATERAL jsonb_to_record(archive.provenance) AS past (
      content_id UUID, license_type license_type, permission_flag BOOLEAN, external_share_consent BOOLEAN,
      acquired_at TIMESTAMP, acquired_by UUID, last_verified_at TIMESTAMP, retention_years INTEGER, access_policy JSONB
    )
    WHERE NOT EXISTS (SELECT FROM provenance WHERE source_uri = archive.provenance ->> 'source_uri')
    ORDER BY archive.provenance ->> 'source_uri', past.acquired_at DESC, archive.id DESC
  )
) AS newest;

-- OFFSET 0 keeps the inner query one of its own, into which the source can be pushed: each source that is cited is then
-- looked up by index, and remembered, instead of working out all sources there are.
CREATE OR REPLACE VIEW answers_citing_unusable_sources WITH (security_invoker = true) AS
SELECT
  dialogue.id AS dialogue_id,
  dialogue.created_at,
  dialogue.model_used,
  cited.source,
  unusable.problems,
  unusable.provenance_id,
  unusable.content_id,
  unusable.license_type,
  unusable.license_spdx,
  unusable.acquired_at,
  unusable.acquired_by,
  unusable.last_verified_at,
  unusable.retention_ends_at,
  unusable.c2pa_manifest,
  unusable.archived
FROM ai_dialogue_log AS dialogue
CROSS JOIN LATERAL (
  SELECT DISTINCT found.source #>> '{}' AS source
  FROM jsonb_path_query(dialogue.citations, 'lax $[*].source ? (@.type() == "string")') AS found (source)
) AS cited
CROSS JOIN LATERAL (
  SELECT * FROM source_usability WHERE source_usability.source_uri = cited.source AND problems <> '{}' OFFSET 0
) AS unusable;

COMMENT ON FUNCTION spdx_license_id(TEXT) IS
  'SPDX identifier of a licence; of Creative Commons licences in the current version, as the version is not kept';
COMMENT ON FUNCTION usage_problems(TEXT, BOOLEAN, BOOLEAN, TIMESTAMP, TIMESTAMP) IS
  'What stands against using content on these terms at a moment; an empty array: nothing';

DO $$
BEGIN
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    GRANT SELECT ON source_usability, answers_citing_unusable_sources TO ragledger_compliance;
  END IF;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER VIEW source_usability OWNER TO ragledger_owner;
    ALTER VIEW answers_citing_unusable_sources OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON VIEW source_usability IS 'Each source with its newest provenance, and what stands against using it now';
COMMENT ON COLUMN source_usability.source_uri IS 'prov:Entity that the acquired copy prov:wasDerivedFrom: where the content came from';
COMMENT ON COLUMN source_usability.provenance_id IS 'prov:Activity that acquired it; the copy is the prov:Entity that prov:wasGeneratedBy it; provenance(id)';
COMMENT ON COLUMN source_usability.content_id IS 'prov:Entity of which the acquired copy is a prov:specializationOf: the content';
COMMENT ON COLUMN source_usability.license_type IS 'Under which terms it may be used, as stored';
COMMENT ON COLUMN source_usability.license_spdx IS 'dcterms:license as SPDX licence identifier; NOASSERTION where nobody stated one';
COMMENT ON COLUMN source_usability.permission_flag IS 'Whether using it is permitted; NULL: not stated';
COMMENT ON COLUMN source_usability.external_share_consent IS 'Whether sharing it outside was consented to; NULL: not stated';
COMMENT ON COLUMN source_usability.acquired_at IS 'prov:generatedAtTime of the acquired copy, UTC';
COMMENT ON COLUMN source_usability.acquired_by IS 'prov:Agent that the copy prov:wasAttributedTo; NULL where nobody is known';
COMMENT ON COLUMN source_usability.last_verified_at IS 'When its terms were last checked, UTC; NULL: never';
COMMENT ON COLUMN source_usability.retention_ends_at IS 'prov:invalidatedAtTime at the latest, UTC: acquired_at + retention_years; NULL: never';
COMMENT ON COLUMN source_usability.on_legal_hold IS 'Whether a legal hold keeps it from being deleted; it may not be used for that reason';
COMMENT ON COLUMN source_usability.c2pa_manifest IS 'Where its C2PA manifest is, as access_policy.c2pa states it; NULL: not stated';
COMMENT ON COLUMN source_usability.archived IS 'Whether retention has taken it out of provenance; it is in retention_archive then';
COMMENT ON COLUMN source_usability.problems IS
  'permission_denied, consent_refused, license_needs_permission, license_unknown, retention_ended; empty: it may be used';

COMMENT ON VIEW answers_citing_unusable_sources IS
  'Answers with each source they cite whose licence, consent or retention does not allow it now; filter by created_at';
COMMENT ON COLUMN answers_citing_unusable_sources.dialogue_id IS 'prov:Entity: the answer; ai_dialogue_log(id)';
COMMENT ON COLUMN answers_citing_unusable_sources.created_at IS 'prov:generatedAtTime of the answer, UTC';
COMMENT ON COLUMN answers_citing_unusable_sources.model_used IS 'prov:SoftwareAgent that the answer prov:wasAttributedTo: the model';
COMMENT ON COLUMN answers_citing_unusable_sources.source IS 'prov:Entity that the answer prov:wasDerivedFrom: the source it cites';
COMMENT ON COLUMN answers_citing_unusable_sources.problems IS 'What stands against using the source, as in source_usability';
COMMENT ON COLUMN answers_citing_unusable_sources.provenance_id IS 'prov:Activity that acquired the source; provenance(id), or retention_archive(id) where archived';
COMMENT ON COLUMN answers_citing_unusable_sources.content_id IS 'prov:Entity: the content that was acquired from the source';
COMMENT ON COLUMN answers_citing_unusable_sources.license_type IS 'Under which terms it may be used, as stored';
COMMENT ON COLUMN answers_citing_unusable_sources.license_spdx IS 'dcterms:license as SPDX licence identifier';
COMMENT ON COLUMN answers_citing_unusable_sources.acquired_at IS 'prov:generatedAtTime of the acquired copy, UTC';
COMMENT ON COLUMN answers_citing_unusable_sources.acquired_by IS 'prov:Agent that the copy prov:wasAttributedTo; NULL where nobody is known';
COMMENT ON COLUMN answers_citing_unusable_sources.last_verified_at IS 'When its terms were last checked, UTC; NULL: never';
COMMENT ON COLUMN answers_citing_unusable_sources.retention_ends_at IS 'When its retention ends or ended, UTC; NULL: never';
COMMENT ON COLUMN answers_citing_unusable_sources.c2pa_manifest IS 'Where the C2PA manifest of the source is; NULL: not stated';
COMMENT ON COLUMN answers_citing_unusable_sources.archived IS 'Whether retention has taken the provenance out since';

COMMIT;
