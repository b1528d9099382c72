-- Record the directory of the file of a month before anything is written there, so that an erasure finds what a killed
-- run leaves there.
-- $1 month  $2 directory
UPDATE partition_archives SET directory = $2 WHERE month = $1
