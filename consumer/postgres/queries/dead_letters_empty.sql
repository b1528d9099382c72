-- Empty dead letters that name an erased user. They keep only what reading the record again would keep.
-- $1 ids  $2 detail
UPDATE dead_letters
SET key = NULL, value = NULL, headers = '[]', sqlstate = NULL, reason = 'erased_user', detail = $2::jsonb,
    discarded_at = CASE WHEN replayed_at IS NULL THEN coalesce(discarded_at, now()) END
WHERE id = ANY ($1::bigint[]) AND reason <> 'erased_user'
RETURNING id
