-- Lock for restoring a month: nobody rolls a day up or creates partitions meanwhile.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0));
SELECT pg_advisory_xact_lock(hashtextextended('ragledger partitions', 0))
