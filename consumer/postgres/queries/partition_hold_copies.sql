-- Lock for dropping a table with dialogues that is no partition: no erasure is searching it.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger copies', 0))
