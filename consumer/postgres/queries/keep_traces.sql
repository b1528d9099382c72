-- Keep which trace each dialogue came from.
-- $1 dialogues  $2 users  $3 created_at  $4 services  $5 environments  $6 spans  $7 model calls  $8 retrievals
-- $9 tool calls  $10 embeddings  $11 errors  $12 version of the mapping  $13 hashes
INSERT INTO dialogue_traces AS kept (
    dialogue_id, trace_id, user_id, created_at, service, environment, spans, model_calls, retrievals, tool_calls,
    embeddings, errors, mapping, content_hash
)
SELECT
    dialogue_id, replace(dialogue_id::text, '-', ''), user_id, created_at, service, environment, spans, model_calls,
    retrievals, tool_calls, embeddings, errors, $12::int, content_hash
FROM unnest(
    $1::uuid[], $2::uuid[], $3::timestamp[], $4::text[], $5::text[], $6::int[], $7::int[], $8::int[], $9::int[],
    $10::int[], $11::int[], $13::bytea[]
) AS folded (
    dialogue_id, user_id, created_at, service, environment, spans, model_calls, retrievals, tool_calls, embeddings,
    errors, content_hash
)
ON CONFLICT (dialogue_id) DO UPDATE SET
    user_id = excluded.user_id,
    created_at = excluded.created_at,
    service = excluded.service,
    environment = excluded.environment,
    spans = excluded.spans,
    model_calls = excluded.model_calls,
    retrievals = excluded.retrievals,
    tool_calls = excluded.tool_calls,
    embeddings = excluded.embeddings,
    errors = excluded.errors,
    mapping = excluded.mapping,
    content_hash = excluded.content_hash,
    folded_at = now()
