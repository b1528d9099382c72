-- Keep the ids of dialogues no longer that were deleted where no trigger does so.
-- $1 dialogues
DELETE FROM known_ids WHERE id = ANY ($1::uuid[])
