-- Settle open dead letters without replaying them; the records stay, as the audit needs them.
-- $1 ids or null for all  $2 topic or null  $3 reason or null  $4 since or null  $5 until or null
UPDATE dead_letters
SET discarded_at = now()
WHERE replayed_at IS NULL AND discarded_at IS NULL
  AND ($1::bigint[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR topic = $2)
  AND ($3::text IS NULL OR reason = $3)
  AND ($4::timestamptz IS NULL OR dead_lettered_at >= $4)
  AND ($5::timestamptz IS NULL OR dead_lettered_at < $5)
RETURNING id
