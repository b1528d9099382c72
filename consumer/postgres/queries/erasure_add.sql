-- Add to the counts of an erasure, in the transaction that erases.
-- $1 erasure  $2 dialogues  $3 feedback  $4 dead letters  $5 provenance  $6 archived provenance  $7 notices  $8 days
-- $9 notices that were sent  $10 staged spans  $11 rows of dialogue_traces
UPDATE erasures
SET dialogues = dialogues + $2,
    feedback = feedback + $3,
    dead_letters = dead_letters + $4,
    provenance = provenance + $5,
    archived_provenance = archived_provenance + $6,
    notices = notices + $7,
    staged_spans = staged_spans + $10,
    traces = traces + $11,
    days = ARRAY(SELECT DISTINCT day FROM unnest(days || $8::date[]) AS day ORDER BY day),
    sent_notices = ARRAY(SELECT DISTINCT id FROM unnest(sent_notices || $9::uuid[]) AS id ORDER BY id)
WHERE id = $1
