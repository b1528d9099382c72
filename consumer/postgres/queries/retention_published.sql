-- Mark these notices as published.
-- $1 ids
UPDATE retention_notices SET published_at = now() WHERE id = ANY ($1::uuid[]) AND published_at IS NULL
