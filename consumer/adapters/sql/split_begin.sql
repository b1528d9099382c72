-- Start a split with all staged rows as one portion.
-- Formatted in: stage, progress.
INSERT INTO {progress} (number, last, size, guilty_before, since_guilty, writes)
SELECT min(number), max(number), max(number) - min(number) + 1, min(number), 0, 0
FROM {stage}
