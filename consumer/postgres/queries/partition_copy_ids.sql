-- Store the ids of some blocks of the old table as known ids.
-- {first}, {end}: the first block and the one after the last
INSERT INTO known_ids (id)
SELECT id FROM ONLY ai_dialogue_log WHERE ctid >= '({first},0)' AND ctid < '({end},0)'
ON CONFLICT (id) DO NOTHING
