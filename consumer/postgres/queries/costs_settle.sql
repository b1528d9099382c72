-- Say with which prices costs were settled.
-- $1 dialogues  $2 sources  $3 version
UPDATE dialogue_costs AS cost
SET source = settled.source, price_version = $3
FROM unnest($1::uuid[], $2::text[]) AS settled (id, source)
WHERE cost.dialogue_id = settled.id
