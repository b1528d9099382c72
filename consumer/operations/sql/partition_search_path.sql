-- For this transaction, look for names where ai_dialogue_log is, and nowhere else.
SELECT set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = to_regclass('ai_dialogue_log')
