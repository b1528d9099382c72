-- Statements about retention_runs, retention_archive and retention_notices.


-- name: retention_archive
-- Archive provenance whose retention is over: one statement deletes it, with its kept checks, and inserts it into the
-- archive.
--
-- The index idx_provenance_expiring finds these rows, with one scan for each number of years. Within one number of
-- years, every row that was acquired long enough ago is over. The scan allows two extra days, because counting a year
-- back from 29 February differs from counting forward. The exact condition follows. Nothing was acquired six thousand
-- years ago, and PostgreSQL's time begins shortly before that.
--
-- The DELETE checks retention and legal hold again, on the current row after it is locked, so a hold that was placed
-- meanwhile counts. If a row is already in the archive, because its topic was read again, it is only deleted.
-- $1 run  $2 rows at most
WITH RECURSIVE terms AS (
    (SELECT retention_years AS years FROM provenance WHERE retention_years IS NOT NULL ORDER BY 1 LIMIT 1)
    UNION ALL
    SELECT (
        SELECT retention_years FROM provenance WHERE retention_years > terms.years ORDER BY retention_years LIMIT 1
    )
    FROM terms
    WHERE terms.years IS NOT NULL
),
chosen AS MATERIALIZED (
    SELECT expired.id
    FROM terms
    CROSS JOIN LATERAL (
        SELECT id
        FROM provenance
        WHERE retention_years = terms.years
          AND acquired_at < now() AT TIME ZONE 'UTC' - make_interval(years => least(terms.years, 6000), days => -2)
          AND retention_ends_at(acquired_at, retention_years) < now() AT TIME ZONE 'UTC'
          AND NOT is_on_legal_hold(access_policy)
        ORDER BY acquired_at
        LIMIT $2
    ) AS expired
    LIMIT $2
),
deleted AS (
    DELETE FROM provenance
    USING chosen
    WHERE provenance.id = chosen.id
      AND retention_ends_at(provenance.acquired_at, provenance.retention_years) < now() AT TIME ZONE 'UTC'
      AND NOT is_on_legal_hold(provenance.access_policy)
    RETURNING provenance.*
),
forgotten AS (
    DELETE FROM kept_verifications USING deleted WHERE provenance_id = deleted.id
),
archived AS (
    INSERT INTO retention_archive (id, run_id, retention_ended_at, provenance)
    SELECT id, $1, retention_ends_at(acquired_at, retention_years), to_jsonb(deleted)
    FROM deleted
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT (SELECT count(*) FROM deleted) AS deleted, (SELECT count(*) FROM archived) AS archived


-- name: retention_attempt
-- Store the end of the topic before notices are sent: every notice that is published lies after this end. An earlier
-- stored end for this topic stays. If two processes publish at once, the earlier end covers both.
-- $1 ids  $2 JSON object: topic to partition to end
UPDATE retention_notices SET sent_from = $2::jsonb || coalesce(sent_from, '{}') WHERE id = ANY ($1::uuid[])


-- name: retention_begin_run
-- Record that a run has archived its first rows.
-- $1 run
INSERT INTO retention_runs (id) VALUES ($1)


-- name: retention_count_waiting
-- The number of notices that are not known to be in the topic.
SELECT count(*) AS waiting FROM retention_notices WHERE published_at IS NULL


-- name: retention_end_run
-- End a run: write one notice for each owner of the rows that it archived. Rows without an owner share one notice with
-- a null owner.
-- $1 run  $2 contents named in one notice, at most
WITH contents AS (
    SELECT
        provenance ->> 'acquired_by' AS owner,
        retention_ended_at,
        row_number() OVER (PARTITION BY provenance ->> 'acquired_by' ORDER BY retention_ended_at, id) AS place,
        jsonb_build_object(
            'id', id,
            'content_id', provenance -> 'content_id',
            'content_type', provenance -> 'content_type',
            'license_type', provenance -> 'license_type',
            'acquired_at', (provenance ->> 'acquired_at') || 'Z',
            'retention_years', provenance -> 'retention_years',
            'retention_ended_at', to_jsonb(retention_ended_at) #>> '{}' || 'Z'
        ) AS content
    FROM retention_archive
    WHERE run_id = $1
),
owners AS (
    SELECT
        gen_random_uuid() AS id, owner, count(*) AS total,
        min(retention_ended_at) AS first_ended_at, max(retention_ended_at) AS last_ended_at,
        jsonb_agg(content ORDER BY place) FILTER (WHERE place <= $2) AS contents
    FROM contents
    GROUP BY owner
),
ended AS (
    UPDATE retention_runs SET ended_at = now() WHERE id = $1 RETURNING begun_at, ended_at
)
INSERT INTO retention_notices (id, run_id, owner, notice)
SELECT
    owners.id, $1, owner::uuid,
    jsonb_build_object(
        'notice_id', owners.id,
        'run_id', $1::uuid,
        'owner', owner,
        'total', total,
        'first_ended_at', to_jsonb(first_ended_at) #>> '{}' || 'Z',
        'last_ended_at', to_jsonb(last_ended_at) #>> '{}' || 'Z',
        'archived_at', to_jsonb(ended.ended_at AT TIME ZONE 'UTC') #>> '{}' || 'Z',
        'contents', contents,
        'contents_are_complete', total <= $2
    )
FROM owners CROSS JOIN ended
RETURNING id


-- name: retention_lead
-- Whether this transaction may archive: one process at a time. No session lock, so it works behind a pooler.
SELECT pg_try_advisory_xact_lock(hashtextextended('ragledger retention', 0)) AS leads


-- name: retention_open_run
-- The open run, if there is one. We began it, or a process that was killed did.
SELECT id FROM retention_runs WHERE ended_at IS NULL FOR UPDATE


-- name: retention_preview
-- Rows that retention would archive at a moment: in total, and by licence, by owner, and by the month in which
-- retention ends. Rows on legal hold are counted separately. It finds rows as `retention_archive` does.
-- $1 moment, UTC  $2 owners at most
WITH RECURSIVE terms AS (
    (SELECT retention_years AS years FROM provenance WHERE retention_years IS NOT NULL ORDER BY 1 LIMIT 1)
    UNION ALL
    SELECT (
        SELECT retention_years FROM provenance WHERE retention_years > terms.years ORDER BY retention_years LIMIT 1
    )
    FROM terms
    WHERE terms.years IS NOT NULL
),
expired AS (
    SELECT piece.*
    FROM terms
    CROSS JOIN LATERAL (
        SELECT
            license_type, acquired_by, is_on_legal_hold(access_policy) AS held,
            retention_ends_at(acquired_at, retention_years) AS ended_at
        FROM provenance
        WHERE retention_years = terms.years
          AND acquired_at < $1::timestamp - make_interval(years => least(terms.years, 6000), days => -2)
          AND retention_ends_at(acquired_at, retention_years) < $1::timestamp
    ) AS piece
),
sums AS (
    SELECT
        CASE grouping(license_type, acquired_by, date_trunc('month', ended_at))
            WHEN 7 THEN 'all' WHEN 3 THEN 'license' WHEN 5 THEN 'owner' ELSE 'month'
        END AS grouped_by,
        license_type::text AS license_type, acquired_by, date_trunc('month', ended_at)::date AS month,
        count(*) FILTER (WHERE NOT held) AS expired, count(*) FILTER (WHERE held) AS on_hold,
        min(ended_at) AS first_ended_at, max(ended_at) AS last_ended_at
    FROM expired
    GROUP BY GROUPING SETS ((), (license_type), (acquired_by), (date_trunc('month', ended_at)))
),
ranked AS (
    SELECT *, row_number() OVER (PARTITION BY grouped_by ORDER BY expired DESC, on_hold DESC, acquired_by) AS place
    FROM sums
)
SELECT grouped_by, license_type, acquired_by, month, expired, on_hold, first_ended_at, last_ended_at
FROM ranked
WHERE grouped_by <> 'owner' OR place <= $2
ORDER BY grouped_by, month, place


-- name: retention_publish_again
-- Assume that no waiting notice is in a topic. A person has decided so, because it cannot be checked.
UPDATE retention_notices SET sent_from = NULL WHERE published_at IS NULL


-- name: retention_published
-- Mark these notices as published. Only the newly marked ones are returned: another process may have found some of them
-- in the topic and marked them already.
-- $1 ids
UPDATE retention_notices SET published_at = now() WHERE id = ANY ($1::uuid[]) AND published_at IS NULL
RETURNING id


-- name: retention_unname
-- Remove the owners from notices. These owners were erased after the notices were written.
-- $1 ids
UPDATE retention_notices SET owner = NULL, notice = notice || '{"owner": null}' WHERE id = ANY ($1::uuid[])
RETURNING id, owner, notice::text AS notice, sent_from::text AS sent_from


-- name: retention_wait_to_lead
-- Wait until this transaction may archive.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger retention', 0))


-- name: retention_waiting
-- The next notices that are not known to be in the topic. Notices that may already be there come first.
-- $1 at most
SELECT id, owner, notice::text AS notice, sent_from::text AS sent_from
FROM retention_notices
WHERE published_at IS NULL
ORDER BY sent_from IS NULL, created_at, id
LIMIT $1
