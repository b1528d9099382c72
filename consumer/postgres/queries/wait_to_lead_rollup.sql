-- Wait until this transaction may roll up.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0))
