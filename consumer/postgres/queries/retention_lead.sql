-- Whether this transaction may archive: one process at a time. No session lock, so it works behind a pooler.
SELECT pg_try_advisory_xact_lock(hashtextextended('ragledger retention', 0)) AS leads
