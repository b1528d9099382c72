-- A month is in a file that was read back.
-- $1 month  $2 rows  $3 file  $4 SHA-256
UPDATE partition_archives SET phase = 'exported', row_count = $2, file = $3, sha256 = $4 WHERE month = $1
