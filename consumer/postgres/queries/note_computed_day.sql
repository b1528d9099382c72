-- Record the basis of a computed day, and the figure that has no column in rag_metrics_history.
-- $1 day  $2 basis  $3 ingest_delay_p95
INSERT INTO computed_days (day, basis_id, ingest_delay_p95) VALUES ($1::text::date, $2, $3)
ON CONFLICT (day) DO UPDATE
SET basis_id = excluded.basis_id, left_under = NULL, ingest_delay_p95 = excluded.ingest_delay_p95
