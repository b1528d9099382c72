-- Remove the owners from notices. These owners were erased after the notices were written.
-- $1 ids
UPDATE retention_notices SET owner = NULL, notice = notice || '{"owner": null}' WHERE id = ANY ($1::uuid[])
RETURNING id, owner, notice::text AS notice, sent_from::text AS sent_from
