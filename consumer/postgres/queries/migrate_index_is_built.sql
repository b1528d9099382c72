-- One row if the index exists and can be used. No row if it is missing or its build did not finish.
SELECT 1 AS built
FROM pg_index
WHERE indexrelid = to_regclass($1) AND indisvalid
