-- The version of the set of erased users. It cannot change until this transaction ends, because an erasure updates the
-- row. If an erasure is updating it, this waits for the end of that transaction and returns the new version.
SELECT version FROM erasure_version FOR SHARE
