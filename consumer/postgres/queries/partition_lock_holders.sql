-- Sessions that hold a lock on ai_dialogue_log, longest first.
SELECT pid, coalesce(nullif(application_name, ''), backend_type) AS program, round(extract(epoch FROM now() - xact_start))::int AS seconds
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'relation' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND relation = to_regclass('ai_dialogue_log') AND pid <> pg_backend_pid()
ORDER BY xact_start
LIMIT 5
