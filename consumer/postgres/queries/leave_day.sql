-- Record that a day was not computed again under a basis, because some of its dialogues are no longer there. If the
-- day's own basis is unknown, it is recorded as the basis in force.
-- $1 day  $2 the basis in force
INSERT INTO computed_days (day, basis_id, left_under) VALUES ($1::text::date, $2, $2)
ON CONFLICT (day) DO UPDATE SET left_under = excluded.left_under
