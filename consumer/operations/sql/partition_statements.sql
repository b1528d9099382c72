-- What pg_stat_statements has of queries of ai_dialogue_log, our own left out: they begin with a comment. Times in ms.
SELECT calls::bigint AS calls, mean_exec_time AS mean, stddev_exec_time AS deviation, max_exec_time AS longest
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND query ~* '^\s*(select|with)\y' AND query ~* '\yai_dialogue_log\y'
