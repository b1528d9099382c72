-- Dialogues whose costs were settled with other prices, with what costs are computed from; locked. A dialogue that is no
-- longer in the table has no model.
-- $1 version in force  $2 at most
WITH stale AS (
    SELECT dialogue_id, created_at, source, amount, currency, cached_tokens
    FROM dialogue_costs
    WHERE dialogue_id = ANY (ARRAY(
        (
            SELECT dialogue_id FROM dialogue_costs
            WHERE source <> 'stated' AND NOT is_final AND price_version < $1::text
            ORDER BY price_version, dialogue_id LIMIT $2::int
        )
        UNION ALL
        (
            SELECT dialogue_id FROM dialogue_costs
            WHERE source <> 'stated' AND NOT is_final AND price_version > $1::text
            ORDER BY price_version, dialogue_id LIMIT $2::int
        )
        LIMIT $2::int
    ))
    ORDER BY dialogue_id
    FOR UPDATE
)
SELECT stale.*, model_used, prompt_tokens, completion_tokens, token_cost_jpy
FROM stale
LEFT JOIN ai_dialogue_log AS dialogue ON dialogue.id = stale.dialogue_id AND dialogue.created_at = stale.created_at
ORDER BY stale.dialogue_id
