-- Note where the topic ends, before notices are sent: whatever gets through of them lies behind that. What was noted for
-- this topic before stays: of two processes at once, the earlier note covers both.
-- $1 ids  $2 JSON object: topic to partition to end
UPDATE retention_notices SET sent_from = $2::jsonb || coalesce(sent_from, '{}') WHERE id = ANY ($1::uuid[])
