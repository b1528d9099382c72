-- Who was erased, and the version of that set: both as of one moment.
SELECT
    (SELECT version FROM erasure_version) AS version,
    array(SELECT user_hash FROM erased_users) AS hashes,
    array(SELECT DISTINCT key_id FROM erased_users) AS key_ids
