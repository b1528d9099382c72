-- Create the partitioned table that replaces ai_dialogue_log, still empty and under another name, and the list of rows
-- deleted while rows are copied. Known ids of an aborted conversion are deleted.
CREATE TABLE ai_dialogue_log_new (LIKE ai_dialogue_log INCLUDING ALL EXCLUDING INDEXES)
PARTITION BY RANGE (created_at);
ALTER TABLE ai_dialogue_log_new ADD CONSTRAINT ai_dialogue_log_new_pkey PRIMARY KEY (id, created_at);
CREATE TABLE ai_dialogue_log_deleted (id UUID NOT NULL, created_at TIMESTAMP NOT NULL);
COMMENT ON TABLE ai_dialogue_log_deleted IS 'Dialogues deleted during a conversion into partitions; goes with its end';
COMMENT ON COLUMN ai_dialogue_log_deleted.id IS 'Id of the dialogue';
COMMENT ON COLUMN ai_dialogue_log_deleted.created_at IS 'When the dialogue took place, UTC';
TRUNCATE known_ids;
