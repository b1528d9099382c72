-- Store the newest reason of dead letters that failed again.
-- $1 ids  $2 reasons  $3 details  $4 SQLSTATEs
UPDATE dead_letters
SET reason = again.reason, detail = again.detail, sqlstate = again.sqlstate
FROM unnest($1::bigint[], $2::text[], $3::jsonb[], $4::text[]) AS again (id, reason, detail, sqlstate)
WHERE dead_letters.id = again.id
