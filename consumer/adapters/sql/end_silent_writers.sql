-- End sessions of ours that sit in the middle of a COPY and hear nothing from their client: a frozen replica, whose rows
-- would make us wait for as long as it sleeps. No time limit of PostgreSQL's ends them while they read from the client.
-- A healthy writer that is ended all the same only tries again.
-- $1 seconds of silence
SELECT pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE datname = current_database()
  AND usename = current_user
  AND application_name = 'ragledger'
  AND pid <> pg_backend_pid()
  AND state = 'active'
  AND wait_event = 'ClientRead'
  AND query_start < now() - $1::float8 * interval '1 second'
