-- Whether every staged row is in or refused, and how many writes that took so far.
-- Formatted in: progress.
SELECT number > last AS is_done, writes FROM {progress}
