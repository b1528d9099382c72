-- Properties of the database that decide whether the schema can be created in it.
SELECT
    current_setting('server_encoding') AS encoding,
    current_setting('transaction_read_only')::boolean AS is_read_only,
    pg_is_in_recovery() AS is_standby,
    current_user AS role,
    current_schema() AS schema,
    has_schema_privilege(current_schema(), 'CREATE') AS may_create
