-- Lock the next open dead letters for a replay. A concurrent replay takes others.
-- $1 ids or null for all  $2 topic or null  $3 reason or null  $4 since or null  $5 until or null
-- $6 ids greater than this  $7 at most
SELECT id, coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0) AS bytes
FROM dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL
  AND ($1::bigint[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR topic = $2)
  AND ($3::text IS NULL OR reason = $3)
  AND ($4::timestamptz IS NULL OR dead_lettered_at >= $4)
  AND ($5::timestamptz IS NULL OR dead_lettered_at < $5)
  AND id > $6
ORDER BY id
LIMIT $7
FOR UPDATE SKIP LOCKED
