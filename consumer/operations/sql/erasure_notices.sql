-- Keep notices without the user; those that wait are published without an owner.
-- $1 user  $2 at most
UPDATE retention_notices
SET owner = NULL, notice = notice || '{"owner": null}'
WHERE id = ANY (ARRAY(SELECT id FROM retention_notices WHERE owner = $1 LIMIT $2))
RETURNING id
