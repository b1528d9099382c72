-- No table with dialogues is added or removed until this transaction ends. Readers and writers are not blocked.
LOCK TABLE ai_dialogue_log IN ACCESS SHARE MODE
