-- Under which keys users were erased, how many under each, and the key that is kept here.
SELECT key_id, count(*) AS users, (SELECT key FROM erasure_version) AS kept_key
FROM erased_users
GROUP BY key_id
ORDER BY key_id
