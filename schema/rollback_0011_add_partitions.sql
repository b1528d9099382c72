-- Rollback of 0011_add_partitions.
-- WARNING: where ai_dialogue_log is partitioned it stays so, with its rows, but nothing keeps one id from being stored
-- twice with another created_at any more, and nobody makes new partitions. Which months were archived is forgotten: their
-- days must not be rolled up again. Refuses while a conversion is under way; and, unless ragledger.delete_data is on
-- (PGOPTIONS=-cragledger.delete_data=on), while a partitioned table needs its ids or months are archived.
-- squawk-ignore-file ban-drop-table, ban-drop-function

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
  IF to_regclass('partition_conversions') IS NULL THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM partition_conversions WHERE finished_at IS NULL) THEN
    RAISE EXCEPTION 'ai_dialogue_log is being converted into partitions'
      USING ERRCODE = 'object_in_use', HINT = 'Finish it with `ragledger partition convert`, or take it back with --abort.';
  END IF;
END
$$;

DO $$
DECLARE
  kept bigint;
  archived bigint;
BEGIN
  IF to_regclass('known_ids') IS NULL OR current_setting('ragledger.delete_data', true) = 'on' THEN
    RETURN;
  END IF;
  SELECT count(*) INTO kept FROM known_ids;
  SELECT count(*) INTO archived FROM partition_archives;
  IF kept + archived > 0 THEN
    RAISE EXCEPTION 'ai_dialogue_log is partitioned: % ids are kept apart here, and % months are archived', kept, archived
      USING ERRCODE = 'object_in_use', HINT = 'Without them an id can be stored twice, and archived months come back. Keep 0011, or delete them with `ragledger migrate down --delete-data`.';
  END IF;
END
$$;

DO $$
BEGIN
  IF to_regclass('ai_dialogue_log') IS NOT NULL THEN
    DROP TRIGGER IF EXISTS keep_dialogue_id_on_insert ON ai_dialogue_log;
    DROP TRIGGER IF EXISTS keep_dialogue_id_on_update ON ai_dialogue_log;
    DROP TRIGGER IF EXISTS keep_dialogue_id_on_delete ON ai_dialogue_log;
    DROP TRIGGER IF EXISTS keep_dialogue_id_on_truncate ON ai_dialogue_log;
  END IF;
END
$$;

DROP FUNCTION IF EXISTS admit_dialogue_writers();
DROP FUNCTION IF EXISTS ensure_dialogue_partition(integer, date, bigint);
DROP FUNCTION IF EXISTS make_default_dialogue_partition();
DROP FUNCTION IF EXISTS make_dialogue_partition(date, bigint, regclass);
DROP FUNCTION IF EXISTS wanted_dialogue_months(integer);
DROP FUNCTION IF EXISTS dress_dialogue_partition(regclass, regclass, text);
DROP FUNCTION IF EXISTS dialogue_partitions(regclass);
DROP FUNCTION IF EXISTS watch_dialogue_ids();
DROP FUNCTION IF EXISTS keep_dialogue_id();

DROP TABLE IF EXISTS partition_archives;
DROP TABLE IF EXISTS partition_conversions;
DROP TABLE IF EXISTS known_ids;
COMMIT;
