-- Bring a month back: nobody rolls a day up or makes partitions meanwhile.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0));
SELECT pg_advisory_xact_lock(hashtextextended('ragledger partitions', 0))
