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
