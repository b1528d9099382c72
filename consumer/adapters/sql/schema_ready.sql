-- Which of the tables the service writes to are missing.
SELECT name
FROM unnest(ARRAY[
    'ai_dialogue_log', 'provenance', 'rag_metrics_history', 'ingest_ledger', 'dead_letters', 'touched_days',
    'ledger_decisions'
]) AS name
WHERE to_regclass(name) IS NULL
