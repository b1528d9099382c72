-- The run that is open, if there is one: it was begun by us, or by somebody who was killed.
SELECT id FROM retention_runs WHERE ended_at IS NULL FOR UPDATE
