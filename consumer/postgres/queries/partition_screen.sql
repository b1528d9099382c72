-- Delete the dialogues of users from a table that is not a partition, with their known ids, kept verdicts and costs.
-- Returns the number.
-- {table}  $1 users
WITH gone AS (
    DELETE FROM {table} WHERE user_id = ANY ($1::uuid[]) RETURNING id
),
forgotten AS (
    DELETE FROM known_ids USING gone WHERE known_ids.id = gone.id
),
unsaid AS (
    DELETE FROM kept_feedback USING gone WHERE dialogue_id = gone.id
),
unpriced AS (
    DELETE FROM dialogue_costs USING gone WHERE dialogue_costs.dialogue_id = gone.id
)
SELECT count(*) AS rows FROM gone
