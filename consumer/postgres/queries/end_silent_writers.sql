-- End our sessions that are inside a COPY and receive nothing from their client. The client is a frozen replica, and
-- its rows would make us wait until it wakes up. No time limit of PostgreSQL applies while a session reads from its
-- client. If a healthy writer is ended by mistake, it only tries again.
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
