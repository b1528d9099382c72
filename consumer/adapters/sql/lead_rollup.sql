-- Whether this transaction may roll up: one replica at a time, and no session lock, so a pooler does not matter.
SELECT pg_try_advisory_xact_lock(hashtextextended('ragledger rollup', 0)) AS leads
