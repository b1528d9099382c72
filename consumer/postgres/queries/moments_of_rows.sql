-- When these rows took place, as the table stores it.
-- {table}  {moment}: its column for the time  $1 ids
SELECT {moment} AS moment FROM {table} WHERE id = ANY ($1::uuid[])
