-- Keep how the costs of new dialogues came about. Whatever is there under the same id is of a dialogue that is gone.
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
