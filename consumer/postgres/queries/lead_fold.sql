-- Whether this transaction may fold traces: one replica at a time. No session lock, so it works behind a pooler.
SELECT pg_try_advisory_xact_lock(hashtextextended('ragledger fold', 0)) AS leads
