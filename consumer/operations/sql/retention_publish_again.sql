-- Take it that no waiting notice is in a topic: somebody has decided so where it could not be told.
UPDATE retention_notices SET sent_from = NULL WHERE published_at IS NULL
