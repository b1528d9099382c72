-- Remove the user from notices, which are kept. Waiting notices are published without an owner. Returns which notices
-- were sent, or are being sent, with the user's id.
-- $1 user  $2 at most
UPDATE retention_notices
SET owner = NULL, notice = notice || '{"owner": null}'
WHERE id = ANY (ARRAY(SELECT id FROM retention_notices WHERE owner = $1 LIMIT $2))
RETURNING id, published_at IS NOT NULL OR sent_from IS NOT NULL AS sent
