-- Put prices in force. The replica that reads its file last decides.
-- $1 version  $2 prices  $3 who
INSERT INTO price_versions (version, prices, adopted_at, adopted_by)
VALUES ($1, $2::jsonb, clock_timestamp(), $3)
ON CONFLICT (version) DO UPDATE SET adopted_at = excluded.adopted_at, adopted_by = excluded.adopted_by
