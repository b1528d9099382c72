-- Whether this transaction may archive: one process at a time, and no session lock, so a pooler does not matter.
SELECT pg_try_advisory_xact_lock(hashtextextended('ragledger retention', 0)) AS leads
