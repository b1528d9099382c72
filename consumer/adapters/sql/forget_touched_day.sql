-- Forget the marks of a day that is about to be computed. What a transaction marks after this statement began keeps its
-- mark, and the statement that computes comes later, so it sees at least the rows of every mark forgotten here.
-- $1 day
DELETE FROM touched_days WHERE day = $1::date
