-- An erasure waits for the end of this transaction before it looks at the copy.
SELECT pg_advisory_xact_lock_shared(hashtextextended('ragledger copying', 0))
