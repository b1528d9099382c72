-- Remove the known ids of deleted dialogues, for tables on which no trigger does this.
-- $1 dialogues
DELETE FROM known_ids WHERE id = ANY ($1::uuid[])
