-- How many days wait to be computed, the first of them, how long it has waited, the newest computed day, and today in
-- the business time zone.
-- $1 business time zone
SELECT
    (SELECT count(DISTINCT day) FROM touched_days) AS waiting,
    (SELECT day FROM touched_days ORDER BY touched_at LIMIT 1) AS first_day,
    (SELECT extract(epoch FROM now() - min(touched_at))::float8 FROM touched_days) AS waiting_seconds,
    (SELECT max(date(date)) FROM rag_metrics_history) AS newest,
    (now() AT TIME ZONE $1::text)::date AS today
