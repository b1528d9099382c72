-- Which of these ids the table does not have.
-- {table}  $1 ids
SELECT staged.id
FROM unnest($1::uuid[]) AS staged (id)
WHERE NOT EXISTS (SELECT FROM {table} AS present WHERE present.id = staged.id)
