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
