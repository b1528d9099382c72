-- Tables with dialogues outside ai_dialogue_log: months that are being archived or restored, and tables of a
-- conversion. Returns the phase of archiving of each, and whether the command that works on it is running.
SELECT relname::text AS name,
       (SELECT phase FROM partition_archives WHERE to_regclass(partition) = pg_class.oid AND phase <> 'dropped') AS phase,
       EXISTS (
           SELECT FROM pg_locks
           WHERE locktype = 'advisory' AND granted AND objsubid = 1
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             AND (classid::bigint << 32 | objid::bigint) = $1
       ) AS is_running
FROM pg_class
WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('ai_dialogue_log'))
  AND relkind IN ('r', 'p') AND NOT relispartition
  AND relname ~ '^ai_dialogue_log_(new|before|[0-9]{4}_[0-9]{2})$'
ORDER BY relname
