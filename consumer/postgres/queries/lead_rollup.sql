-- Whether this transaction may roll up: one replica at a time. No session lock, so it works behind a pooler.
SELECT pg_try_advisory_xact_lock(hashtextextended('ragledger rollup', 0)) AS leads
