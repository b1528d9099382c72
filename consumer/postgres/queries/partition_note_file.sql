-- Record the file of a month before it is written. A file that an interrupted run left there is then known to be ours.
-- $1 month  $2 rows  $3 file  $4 SHA-256  $5 directory
UPDATE partition_archives SET row_count = $2, file = $3, sha256 = $4, directory = $5 WHERE month = $1
