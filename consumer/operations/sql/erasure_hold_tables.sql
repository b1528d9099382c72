-- No table with dialogues comes or goes until this transaction ends; who reads and writes them is not held up.
LOCK TABLE ai_dialogue_log IN ACCESS SHARE MODE
