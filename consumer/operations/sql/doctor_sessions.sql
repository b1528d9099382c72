-- How many clients are connected, how many of them are replicas of ours in this database as far as we may see, and what
-- limits their number.
SELECT
    count(*) FILTER (WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS connected,
    count(*) FILTER (WHERE application_name = 'ragledger' AND datname = current_database()) AS ours,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS database_limit,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS role_limit
FROM pg_stat_activity
