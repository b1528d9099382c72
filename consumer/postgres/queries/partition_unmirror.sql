-- Remove the mirror from ai_dialogue_log.
DROP TRIGGER IF EXISTS mirror_ai_dialogue_log_insert ON ai_dialogue_log;
DROP TRIGGER IF EXISTS mirror_ai_dialogue_log_update ON ai_dialogue_log;
DROP TRIGGER IF EXISTS mirror_ai_dialogue_log_delete ON ai_dialogue_log;
DROP TRIGGER IF EXISTS mirror_ai_dialogue_log_truncate ON ai_dialogue_log;
DROP FUNCTION IF EXISTS mirror_ai_dialogue_log_insert();
DROP FUNCTION IF EXISTS mirror_ai_dialogue_log_update();
DROP FUNCTION IF EXISTS mirror_ai_dialogue_log_delete();
DROP FUNCTION IF EXISTS mirror_ai_dialogue_log_truncate();
DROP TABLE IF EXISTS ai_dialogue_log_deleted
