-- Checkpoints started by time, and those forced by the size of the log, from PostgreSQL 17 on.
SELECT num_timed AS timed, num_requested AS requested, stats_reset FROM pg_stat_checkpointer
