-- Every table that holds dialogues, ai_dialogue_log first: months that are being archived or restored, and the other
-- table of a conversion, which holds the same dialogues again. None is added or removed while ai_dialogue_log is
-- locked.
SELECT format('%I.%I', nspname, relname) AS name, pg_class.oid = to_regclass('ai_dialogue_log') AS is_first,
       relname IN ('ai_dialogue_log_new', 'ai_dialogue_log_before') AS is_double
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('ai_dialogue_log'))
  AND relkind IN ('r', 'p') AND NOT relispartition
  AND (
    pg_class.oid = to_regclass('ai_dialogue_log')
    OR relname ~ '^ai_dialogue_log_(new|before|[0-9]{4}_[0-9]{2})$'
    OR pg_class.oid IN (SELECT to_regclass(partition) FROM partition_archives WHERE phase <> 'dropped')
  )
  AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'user_id' AND NOT attisdropped)
ORDER BY is_first DESC, name
