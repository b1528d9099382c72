-- Start a split with the first staged rows as one portion.
-- Formatted in: first (how many), stage, progress.
INSERT INTO {progress} (number, last, size, guilty_before, since_guilty, affordable, writes, is_slow)
SELECT min(number), max(number), least({first}, max(number) - min(number) + 1), min(number), 0, {first}, 0, false
FROM {stage}
