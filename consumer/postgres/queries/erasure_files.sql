-- The files of archived months, including unfinished ones, with their directories if known; no file is noted before it
-- is complete.
SELECT file, directory FROM partition_archives WHERE file IS NOT NULL OR directory IS NOT NULL ORDER BY month
