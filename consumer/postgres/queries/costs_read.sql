-- What costs are computed from, of dialogues that are locked. A dialogue that is no longer in the table has no model.
-- $1 dialogues
SELECT
    cost.dialogue_id, cost.created_at, source, amount, currency, cached_tokens,
    model_used, prompt_tokens, completion_tokens, token_cost_jpy
FROM dialogue_costs AS cost
LEFT JOIN ai_dialogue_log AS dialogue ON dialogue.id = cost.dialogue_id AND dialogue.created_at = cost.created_at
WHERE cost.dialogue_id = ANY ($1::uuid[])
ORDER BY cost.dialogue_id
FOR UPDATE OF cost
