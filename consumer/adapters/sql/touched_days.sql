-- The days whose rows have changed since they were computed, newest first: today matters most.
SELECT DISTINCT day FROM touched_days ORDER BY day DESC
