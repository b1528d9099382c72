-- Of two erasures of one user, one takes a step at a time: they take the same rows.
-- $1 user
SELECT pg_advisory_xact_lock(hashtextextended('ragledger erasure ' || $1::uuid::text, 0))
