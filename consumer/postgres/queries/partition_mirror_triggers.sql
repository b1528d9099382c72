-- Create the triggers of the mirror. When this lock is granted, every transaction that wrote before has ended, and its
-- rows are below the block at which copying ends.
CREATE TRIGGER mirror_ai_dialogue_log_insert AFTER INSERT ON ai_dialogue_log
  REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION mirror_ai_dialogue_log_insert();
CREATE TRIGGER mirror_ai_dialogue_log_update AFTER UPDATE ON ai_dialogue_log
  REFERENCING OLD TABLE AS gone NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION mirror_ai_dialogue_log_update();
CREATE TRIGGER mirror_ai_dialogue_log_delete AFTER DELETE ON ai_dialogue_log
  REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION mirror_ai_dialogue_log_delete();
CREATE TRIGGER mirror_ai_dialogue_log_truncate AFTER TRUNCATE ON ai_dialogue_log
  FOR EACH STATEMENT EXECUTE FUNCTION mirror_ai_dialogue_log_truncate();
UPDATE partition_conversions
SET phase = 'mirrored', updated_at = now(),
    end_block = pg_relation_size('ai_dialogue_log') / current_setting('block_size')::integer
WHERE finished_at IS NULL
