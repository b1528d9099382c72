-- Set aside a verdict that the database refuses to write into its dialogue.
-- $1 dialogue  $2 SQLSTATE
UPDATE kept_feedback SET applied_at = now(), sqlstate = $2 WHERE dialogue_id = $1 AND applied_at IS NULL
