-- The server, our identity on it, and whether it accepts writes.
SELECT
    current_setting('server_version_num')::integer AS version_number,
    current_setting('server_version') AS version,
    quote_ident(current_database()) AS database,
    quote_ident(current_user) AS role,
    current_setting('server_encoding') AS encoding,
    pg_is_in_recovery() AS is_standby,
    current_setting('default_transaction_read_only')::boolean AS is_read_only
