-- Settings for computing a day, for this transaction only. A million values are sorted in memory. The users are sorted
-- on their own (PostgreSQL 16 and later would sort whole rows by user first, on disk). JIT compilation is off.
SELECT set_config(wanted.name, wanted.value, true)
FROM (VALUES ('work_mem', '64MB'), ('enable_presorted_aggregate', 'off'), ('jit', 'off')) AS wanted (name, value)
WHERE current_setting(wanted.name, true) IS NOT NULL
