-- For this transaction, look for names where ai_dialogue_log is, and nowhere else.
SELECT set_config('search_path', quote_ident(relnamespace::regnamespace::text) || ', pg_temp', true)
FROM pg_class WHERE oid = to_regclass('ai_dialogue_log')
