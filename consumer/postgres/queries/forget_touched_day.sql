-- Delete the marks of a day that is computed next. Marks of transactions that commit after this statement began stay.
-- The statement that computes runs later, so it sees at least the rows of every mark deleted here.
-- $1 day
DELETE FROM touched_days WHERE day = $1::date
