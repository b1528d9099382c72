-- One row where the index exists and can be used, none where it is missing or a build of it did not finish.
SELECT 1 AS built
FROM pg_index
WHERE indexrelid = to_regclass($1) AND indisvalid
