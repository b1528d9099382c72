-- Switch off, for this transaction, the time limits that would end it while it only holds the lock.
SELECT set_config(name, '0', true)
FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
