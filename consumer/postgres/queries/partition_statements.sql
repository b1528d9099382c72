-- Queries on ai_dialogue_log in pg_stat_statements, without our own, which begin with a comment. Times are in
-- milliseconds.
SELECT calls::bigint AS calls, mean_exec_time AS mean, stddev_exec_time AS deviation, max_exec_time AS longest
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND query ~* '^\s*(select|with)\y' AND query ~* '\yai_dialogue_log\y'
