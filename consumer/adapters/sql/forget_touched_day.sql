-- Forget the marks of a day that is about to be computed.
-- $1 day
DELETE FROM touched_days WHERE day = $1::date
