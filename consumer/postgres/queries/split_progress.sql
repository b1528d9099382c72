-- Whether every staged row is inserted or refused, and the number of writes so far.
-- Formatted in: progress.
SELECT number > last AS is_done, writes FROM {progress}
