-- How a day is worked out, for this transaction: the values of a million dialogues are sorted in memory, the users each by
-- themselves (PostgreSQL 16 and later would rather sort whole rows by user first, on disk), and nothing is compiled for it.
SELECT set_config(wanted.name, wanted.value, true)
FROM (VALUES ('work_mem', '64MB'), ('enable_presorted_aggregate', 'off'), ('jit', 'off')) AS wanted (name, value)
WHERE current_setting(wanted.name, true) IS NOT NULL
