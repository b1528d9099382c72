-- Keep notices without the user; those that wait are published without an owner. Which of them were sent, or are just
-- being sent, with the user's name.
-- $1 user  $2 at most
UPDATE retention_notices
SET owner = NULL, notice = notice || '{"owner": null}'
WHERE id = ANY (ARRAY(SELECT id FROM retention_notices WHERE owner = $1 LIMIT $2))
RETURNING id, published_at IS NOT NULL OR sent_from IS NOT NULL AS sent
