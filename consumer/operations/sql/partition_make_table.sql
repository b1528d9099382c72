-- The partitioned table that is to take the place of ai_dialogue_log, still empty and under another name, and beside it
-- the list of what was deleted while rows were copied. Ids kept for a conversion that was aborted go.
CREATE TABLE ai_dialogue_log_new (LIKE ai_dialogue_log INCLUDING ALL EXCLUDING INDEXES)
PARTITION BY RANGE (created_at);
ALTER TABLE ai_dialogue_log_new ADD CONSTRAINT ai_dialogue_log_new_pkey PRIMARY KEY (id, created_at);
CREATE TABLE ai_dialogue_log_deleted (id UUID NOT NULL, created_at TIMESTAMP NOT NULL);
COMMENT ON TABLE ai_dialogue_log_deleted IS 'Dialogues deleted during a conversion into partitions; goes with its end';
COMMENT ON COLUMN ai_dialogue_log_deleted.id IS 'Id of the dialogue';
COMMENT ON COLUMN ai_dialogue_log_deleted.created_at IS 'When the dialogue took place, UTC';
TRUNCATE known_ids;
