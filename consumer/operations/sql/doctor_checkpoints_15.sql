-- Checkpoints that came with the clock, and those that the log's size forced. Before PostgreSQL 17.
SELECT checkpoints_timed AS timed, checkpoints_req AS requested, stats_reset FROM pg_stat_bgwriter
