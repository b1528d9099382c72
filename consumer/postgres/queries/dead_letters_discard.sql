-- Discard the next open dead letters. The records stay, because the audit needs them.
-- $1 ids or null for all  $2 topic or null  $3 reason or null  $4 since or null  $5 until or null
-- $6 ids greater than this  $7 up to this one  $8 at most
WITH chosen AS (
  SELECT id
  FROM dead_letters
  WHERE replayed_at IS NULL AND discarded_at IS NULL
    AND ($1::bigint[] IS NULL OR id = ANY ($1))
    AND ($2::text IS NULL OR topic = $2)
    AND ($3::text IS NULL OR reason = $3)
    AND ($4::timestamptz IS NULL OR dead_lettered_at >= $4)
    AND ($5::timestamptz IS NULL OR dead_lettered_at < $5)
    AND id > $6 AND id <= $7
  ORDER BY id
  LIMIT $8
  FOR UPDATE
), settled AS (
  UPDATE dead_letters SET discarded_at = now() FROM chosen WHERE dead_letters.id = chosen.id RETURNING dead_letters.id
)
SELECT count(*) AS discarded, max(id) AS last_id FROM settled
