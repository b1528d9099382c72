-- Number of connected clients, how many of them are our replicas in this database as far as our role can see, and the
-- limits of connections.
SELECT
    count(*) FILTER (WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS connected,
    count(*) FILTER (WHERE application_name = 'ragledger' AND datname = current_database()) AS ours,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit
FROM pg_stat_activity
