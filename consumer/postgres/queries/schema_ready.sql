-- The tables that the service needs and that are missing.
SELECT name
FROM unnest(ARRAY[
    'ai_dialogue_log', 'provenance', 'rag_metrics_history', 'ingest_ledger', 'dead_letters', 'touched_days',
    'kept_feedback', 'kept_verifications', 'plugin_registry',
    'rollup_basis', 'computed_days',
    'known_ids', 'partition_archives',
    'erased_users', 'erasure_version',
    'ledger_decisions',
    'dialogue_costs', 'price_versions'
]) AS name
WHERE to_regclass(name) IS NULL
