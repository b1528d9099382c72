-- Record that a run has archived its first rows.
-- $1 run
INSERT INTO retention_runs (id) VALUES ($1)
