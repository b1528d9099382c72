-- Forget the marks of traces that were folded; marks that were made meanwhile stay.
-- $1 marks
DELETE FROM touched_traces WHERE id = ANY ($1::bigint[])
