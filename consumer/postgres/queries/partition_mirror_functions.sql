-- Functions that repeat every write to ai_dialogue_log on ai_dialogue_log_new, in the same transaction. A delete cannot
-- see, and so cannot delete, a row that is being copied. Deleted rows are therefore listed, and checked again after
-- copying.
-- {columns}: the columns of the table  {changes}: each of them taken over from the row that could not be inserted
CREATE OR REPLACE FUNCTION mirror_ai_dialogue_log_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO known_ids (id) SELECT id FROM written ON CONFLICT (id) DO NOTHING;
  INSERT INTO ai_dialogue_log_new ({columns}) SELECT {columns} FROM written
  ON CONFLICT (id, created_at) DO UPDATE SET {changes};
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION mirror_ai_dialogue_log_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO ai_dialogue_log_deleted (id, created_at) SELECT id, created_at FROM gone;
  DELETE FROM ai_dialogue_log_new AS copy USING gone WHERE copy.id = gone.id AND copy.created_at = gone.created_at;
  DELETE FROM known_ids AS kept USING gone WHERE kept.id = gone.id;
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION mirror_ai_dialogue_log_update() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  INSERT INTO ai_dialogue_log_deleted (id, created_at)
  SELECT id, created_at FROM gone EXCEPT SELECT id, created_at FROM written;
  DELETE FROM ai_dialogue_log_new AS copy
  USING (SELECT id, created_at FROM gone EXCEPT SELECT id, created_at FROM written) AS moved
  WHERE copy.id = moved.id AND copy.created_at = moved.created_at;
  DELETE FROM known_ids AS kept
  USING (SELECT id FROM gone EXCEPT SELECT id FROM written) AS renamed
  WHERE kept.id = renamed.id;
  INSERT INTO known_ids (id) SELECT id FROM written ON CONFLICT (id) DO NOTHING;
  INSERT INTO ai_dialogue_log_new ({columns}) SELECT {columns} FROM written
  ON CONFLICT (id, created_at) DO UPDATE SET {changes};
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION mirror_ai_dialogue_log_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
  TRUNCATE ai_dialogue_log_new, known_ids, ai_dialogue_log_deleted;
  RETURN NULL;
END
$$
