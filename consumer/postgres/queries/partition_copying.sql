-- Take the lock that erasures wait for: an erasure does not search the copy before this transaction ends.
SELECT pg_advisory_xact_lock_shared(hashtextextended('ragledger copying', 0))
