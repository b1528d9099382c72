-- The keys under which users were erased, the number of users for each, and the key that the database keeps.
SELECT key_id, count(*) AS users, (SELECT key FROM erasure_version) AS kept_key
FROM erased_users
GROUP BY key_id
ORDER BY key_id
