-- Mark days whose rows have changed, so that the roll-up computes them again. Marks are only added, so flushes never
-- wait.
-- $1 days
INSERT INTO touched_days (day) SELECT unnest($1::date[])
