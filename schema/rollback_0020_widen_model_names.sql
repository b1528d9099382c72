-- Rollback of 0020_widen_model_names: names of models of at most 100 characters again.
-- Fails, and changes nothing, while a longer name is stored. A shorter type rewrites the table, and nobody can use it
-- meanwhile: where it has more than 16 MB the column stays wide, which no earlier version minds.
-- squawk-ignore-file ban-drop-function

BEGIN;
SET LOCAL lock_timeout = '5s';
DO $$
DECLARE
  too_long bigint;
  size bigint;
BEGIN
  IF to_regprocedure('retype_model_used(integer)') IS NULL OR to_regclass('ai_dialogue_log') IS NULL THEN
    RETURN;
  END IF;
  SELECT sum(pg_relation_size(relid)) INTO size
  FROM (SELECT relid FROM pg_partition_tree('ai_dialogue_log') UNION SELECT 'ai_dialogue_log'::regclass) AS parts;
  IF size <= 16 * 1024 * 1024 THEN
    LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE;
  END IF;
  SELECT count(*) INTO too_long FROM ai_dialogue_log WHERE char_length(model_used) > 100;
  IF too_long > 0 THEN
    RAISE EXCEPTION 'cannot narrow model_used: % dialogue(s) have a name of more than 100 characters', too_long
      USING ERRCODE = 'string_data_right_truncation',
            HINT = 'Keep 0020, or move those rows of ai_dialogue_log elsewhere first.';
  END IF;
  IF size <= 16 * 1024 * 1024 THEN
    PERFORM retype_model_used(100);
  ELSE
    RAISE NOTICE 'model_used stays VARCHAR(255): to narrow it would rewrite % MB while nobody can use the table', size / 1048576;
  END IF;
END
$$;
DROP FUNCTION IF EXISTS retype_model_used(integer);
COMMIT;
