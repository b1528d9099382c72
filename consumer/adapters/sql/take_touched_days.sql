-- Take the marks of the newest touched days. What a transaction marks after this statement began keeps its mark, and
-- what this one then computes sees at least the rows of every mark it took.
-- $1 days at most
WITH chosen AS (SELECT DISTINCT day FROM touched_days ORDER BY day DESC LIMIT $1),
taken AS (DELETE FROM touched_days WHERE day IN (SELECT day FROM chosen) RETURNING day)
SELECT DISTINCT day FROM taken ORDER BY day
