-- Wait until this transaction may archive.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger retention', 0))
