-- The given ids that the table does not contain.
-- {table}  $1 ids
SELECT staged.id
FROM unnest($1::uuid[]) AS staged (id)
WHERE NOT EXISTS (SELECT FROM {table} AS present WHERE present.id = staged.id)
