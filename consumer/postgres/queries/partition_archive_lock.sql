-- Lock for archiving a month: nobody rolls a day up or creates partitions, and nobody uses the table.
-- {partition}
SELECT pg_advisory_xact_lock(hashtextextended('ragledger rollup', 0));
SELECT pg_advisory_xact_lock(hashtextextended('ragledger partitions', 0));
LOCK TABLE ONLY ai_dialogue_log, {partition} IN ACCESS EXCLUSIVE MODE
