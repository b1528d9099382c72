-- Delete how the costs of deleted dialogues came about, for tables on which no trigger does this.
-- $1 dialogues
DELETE FROM dialogue_costs WHERE dialogue_id = ANY ($1::uuid[])
