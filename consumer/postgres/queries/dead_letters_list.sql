-- Dead letters, newest first.
-- $1 topic or null  $2 reason or null  $3 since or null  $4 until or null  $5 settled ones too  $6 at most
SELECT
    id, topic, partition, record_offset, record_timestamp, reason, detail, sqlstate, dead_lettered_at, replayed_at,
    discarded_at, octet_length(value) AS value_bytes
FROM dead_letters
WHERE ($1::text IS NULL OR topic = $1)
  AND ($2::text IS NULL OR reason = $2)
  AND ($3::timestamptz IS NULL OR dead_lettered_at >= $3)
  AND ($4::timestamptz IS NULL OR dead_lettered_at < $4)
  AND ($5 OR (replayed_at IS NULL AND discarded_at IS NULL))
ORDER BY id DESC
LIMIT $6
