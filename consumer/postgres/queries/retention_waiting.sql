-- The next notices that are not known to be in the topic. Notices that may already be there come first.
-- $1 at most
SELECT id, owner, notice::text AS notice, sent_from::text AS sent_from
FROM retention_notices
WHERE published_at IS NULL
ORDER BY sent_from IS NULL, created_at, id
LIMIT $1
