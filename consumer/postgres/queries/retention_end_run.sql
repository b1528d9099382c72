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
