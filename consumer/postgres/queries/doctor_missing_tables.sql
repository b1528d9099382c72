-- Our tables that are missing.
SELECT name
FROM unnest(ARRAY[
    'ai_dialogue_log', 'provenance', 'rag_metrics_history', 'plugin_registry', 'ingest_ledger', 'dead_letters',
    'touched_days'
]) AS name
WHERE to_regclass(name) IS NULL
