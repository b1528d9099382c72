-- Remember that a day was not computed anew under a basis, because its dialogues are no longer all there. Where nobody
-- knows what it was computed under, the basis in force is taken for it.
-- $1 day  $2 the basis in force
INSERT INTO computed_days (day, basis_id, left_under) VALUES ($1::text::date, $2, $2)
ON CONFLICT (day) DO UPDATE SET left_under = excluded.left_under
