-- The files of archived months, including unfinished ones, with their directories if known.
SELECT file, directory FROM partition_archives WHERE file IS NOT NULL ORDER BY month
