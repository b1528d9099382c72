-- Assume that no waiting notice is in a topic. A person has decided so, because it cannot be checked.
UPDATE retention_notices SET sent_from = NULL WHERE published_at IS NULL
