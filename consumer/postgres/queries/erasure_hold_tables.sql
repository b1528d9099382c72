-- No table with dialogues is added to ai_dialogue_log, taken out of it or dropped until this transaction ends. Readers
-- and writers are not blocked.
LOCK TABLE ai_dialogue_log IN ACCESS SHARE MODE;
SELECT pg_advisory_xact_lock_shared(hashtextextended('ragledger copies', 0))
