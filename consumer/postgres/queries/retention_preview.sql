-- Rows that retention would archive at a moment: in total, and by licence, by owner, and by the month in which
-- retention ends. Rows on legal hold are counted separately. It finds rows as retention_archive.sql does.
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
