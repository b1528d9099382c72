-- The version of the set of erased users, which stays what it is until this transaction ends: an erasure updates the row.
-- Where one is doing so this waits for its end, and returns the version after it.
SELECT version FROM erasure_version FOR SHARE
