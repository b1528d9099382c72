-- The open run, if there is one. We began it, or a process that was killed did.
SELECT id FROM retention_runs WHERE ended_at IS NULL FOR UPDATE
