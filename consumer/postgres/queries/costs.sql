-- Statements about dialogue_costs and prices.


-- name: costs_adopt
-- Put prices in force. The replica that reads its file last decides.
-- $1 version  $2 prices  $3 who
INSERT INTO price_versions (version, prices, adopted_at, adopted_by)
VALUES ($1, $2::jsonb, clock_timestamp(), $3)
ON CONFLICT (version) DO UPDATE SET adopted_at = excluded.adopted_at, adopted_by = excluded.adopted_by


-- name: costs_archived_months
-- The months whose rows were archived, and the time before which dialogues have expired.
SELECT month::timestamp AS begin, (month + interval '1 month')::timestamp AS "end" FROM partition_archives
UNION ALL
SELECT '-infinity', expired_before FROM dialogue_retention


-- name: costs_change
-- Change the costs of dialogues.
-- $1 dialogues  $2 when they took place  $3 costs in yen, null if not known
UPDATE ai_dialogue_log AS dialogue
SET token_cost_jpy = changed.jpy
FROM unnest($1::uuid[], $2::timestamp[], $3::numeric[]) AS changed (id, created_at, jpy)
WHERE dialogue.id = changed.id AND dialogue.created_at = changed.created_at


-- name: costs_in_force
-- The version of the prices in force.
SELECT version FROM price_versions WHERE adopted_at IS NOT NULL ORDER BY adopted_at DESC LIMIT 1


-- name: costs_keep
-- Store the sources of the costs of new dialogues. A stored row with the same id belongs to a deleted dialogue and is
-- replaced.
-- $1 dialogues  $2 when they took place  $3 sources  $4 price versions  $5 amounts  $6 currencies  $7 cached tokens
INSERT INTO dialogue_costs (dialogue_id, created_at, source, price_version, amount, currency, cached_tokens)
SELECT * FROM unnest($1::uuid[], $2::timestamp[], $3::text[], $4::text[], $5::numeric[], $6::text[], $7::int[])
ON CONFLICT (dialogue_id) DO UPDATE SET
    created_at = excluded.created_at,
    source = excluded.source,
    price_version = excluded.price_version,
    amount = excluded.amount,
    currency = excluded.currency,
    cached_tokens = excluded.cached_tokens,
    is_final = FALSE


-- name: costs_leave
-- Mark costs as final.
-- $1 dialogues
UPDATE dialogue_costs SET is_final = TRUE WHERE dialogue_id = ANY ($1::uuid[])


-- name: costs_lock
-- Lock dialogues before their costs, as a deletion does, and in a fixed order.
-- $1 dialogues  $2 when they took place
SELECT id
FROM ai_dialogue_log
WHERE id = ANY ($1::uuid[]) AND created_at = ANY ($2::timestamp[])
ORDER BY id
FOR NO KEY UPDATE


-- name: costs_read
-- The values from which costs are computed, for locked dialogues. A dialogue that is no longer in the table has no
-- model.
-- $1 dialogues
SELECT
    cost.dialogue_id, cost.created_at, source, amount, currency, cached_tokens,
    model_used, prompt_tokens, completion_tokens, token_cost_jpy
FROM dialogue_costs AS cost
LEFT JOIN ai_dialogue_log AS dialogue ON dialogue.id = cost.dialogue_id AND dialogue.created_at = cost.created_at
WHERE cost.dialogue_id = ANY ($1::uuid[])
ORDER BY cost.dialogue_id
FOR UPDATE OF cost


-- name: costs_restate
-- Change the notes of changed dialogues that no longer need a note, so that other prices do not change a stated cost.
-- If the replica has no prices and the cost is unknown, the next prices settle it.
-- $1 dialogues  $2 when they took place
UPDATE dialogue_costs AS cost
SET created_at = dialogue.created_at,
    source = CASE WHEN dialogue.token_cost_jpy IS NULL THEN 'unpriced' ELSE 'stated' END,
    price_version = CASE WHEN dialogue.token_cost_jpy IS NULL THEN '' ELSE cost.price_version END,
    amount = NULL,
    currency = NULL,
    cached_tokens = NULL
FROM unnest($1::uuid[], $2::timestamp[]) AS changed (id, created_at)
JOIN ai_dialogue_log AS dialogue ON dialogue.id = changed.id AND dialogue.created_at = changed.created_at
WHERE cost.dialogue_id = changed.id


-- name: costs_settle
-- Record the prices with which costs were settled.
-- $1 dialogues  $2 sources  $3 version
UPDATE dialogue_costs AS cost
SET source = settled.source, price_version = $3
FROM unnest($1::uuid[], $2::text[]) AS settled (id, source)
WHERE cost.dialogue_id = settled.id


-- name: costs_stale
-- Dialogues whose costs were settled with other prices.
-- $1 version in force  $2 at most
(
    SELECT dialogue_id, created_at FROM dialogue_costs
    WHERE source <> 'stated' AND NOT is_final AND price_version < $1::text
    ORDER BY price_version, dialogue_id LIMIT $2::int
)
UNION ALL
(
    SELECT dialogue_id, created_at FROM dialogue_costs
    WHERE source <> 'stated' AND NOT is_final AND price_version > $1::text
    ORDER BY price_version, dialogue_id LIMIT $2::int
)
LIMIT $2::int


-- name: erasure_costs
-- Delete the sources of the costs of deleted dialogues, for tables on which no trigger does this.
-- $1 dialogues
DELETE FROM dialogue_costs WHERE dialogue_id = ANY ($1::uuid[])
