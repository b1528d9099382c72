-- Set aside checks that the database refuses to write into their provenance.
-- $1 provenance  $2 SQLSTATE
UPDATE kept_verifications SET applied_at = now(), sqlstate = $2 WHERE provenance_id = $1 AND applied_at IS NULL
