-- Serialize the steps of concurrent erasures of one user, because they change the same rows.
-- $1 user
SELECT pg_advisory_xact_lock(hashtextextended('ragledger erasure ' || $1::uuid::text, 0))
