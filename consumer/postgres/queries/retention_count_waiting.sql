-- The number of notices that are not known to be in the topic.
SELECT count(*) AS waiting FROM retention_notices WHERE published_at IS NULL
