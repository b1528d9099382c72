-- The erased users, the version of this set, and the key that the database keeps, all from one snapshot.
SELECT
    (SELECT version FROM erasure_version) AS version,
    (SELECT key FROM erasure_version) AS key,
    array(SELECT user_hash FROM erased_users) AS hashes,
    array(SELECT DISTINCT key_id FROM erased_users) AS key_ids
