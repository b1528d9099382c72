-- Checkpoints that came with the clock, and those that the log's size forced. From PostgreSQL 17 on.
SELECT num_timed AS timed, num_requested AS requested, stats_reset FROM pg_stat_checkpointer
