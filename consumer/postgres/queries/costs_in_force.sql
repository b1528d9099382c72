-- The version of the prices in force.
SELECT version FROM price_versions WHERE adopted_at IS NOT NULL ORDER BY adopted_at DESC LIMIT 1
