-- Columns that differ between ai_dialogue_log and ai_dialogue_log_new: somebody changed one table during the
-- conversion.
SELECT DISTINCT attname::text AS name
FROM (
    SELECT attname, atttypid, atttypmod, attnotnull, count(*) AS tables
    FROM pg_attribute
    WHERE attrelid IN ('ai_dialogue_log'::regclass, 'ai_dialogue_log_new'::regclass) AND attnum > 0 AND NOT attisdropped
    GROUP BY attname, atttypid, atttypmod, attnotnull
) AS columns
WHERE tables <> 2
