-- Checkpoints started by time, and those forced by the size of the log, before PostgreSQL 17.
SELECT checkpoints_timed AS timed, checkpoints_req AS requested, stats_reset FROM pg_stat_bgwriter
