-- The erased users, the version of this set, the key that the database keeps, and under which namespace of string ids
-- users were erased, all from one snapshot.
SELECT
    (SELECT version FROM erasure_version) AS version,
    (SELECT key FROM erasure_version) AS key,
    (SELECT namespace_hash FROM erasure_version) AS namespace_hash,
    array(SELECT user_hash FROM erased_users) AS hashes,
    array(SELECT DISTINCT key_id FROM erased_users) AS key_ids
