-- Limit this transaction's search path to the schema of ai_dialogue_log.
SELECT set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE pg_class.oid = to_regclass('ai_dialogue_log')
