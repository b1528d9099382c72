-- The files that months were or are written into, as far as is known where they are.
SELECT file, directory FROM partition_archives WHERE file IS NOT NULL ORDER BY month
