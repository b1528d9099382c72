-- Leave costs as they are for good.
-- $1 dialogues
UPDATE dialogue_costs SET is_final = TRUE WHERE dialogue_id = ANY ($1::uuid[])
