-- Mark days whose rows have changed; the roll-up computes them anew. Marks are only ever added, so flushes never wait.
-- $1 days
INSERT INTO touched_days (day) SELECT unnest($1::date[])
