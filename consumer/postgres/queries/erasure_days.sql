-- The days that an erasure has touched.
-- $1 erasure
SELECT unnest(days) AS day FROM erasures WHERE id = $1 ORDER BY day
