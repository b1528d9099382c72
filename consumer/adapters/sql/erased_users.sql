-- Who was erased, the version of that set, and the key that is kept here: all as of one moment.
SELECT
    (SELECT version FROM erasure_version) AS version,
    (SELECT key FROM erasure_version) AS key,
    array(SELECT user_hash FROM erased_users) AS hashes,
    array(SELECT DISTINCT key_id FROM erased_users) AS key_ids
