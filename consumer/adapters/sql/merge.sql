-- Take what is new in the staging table into the table. A row whose id is there is a duplicate; a conflict with any other
-- constraint is an error.
-- {table}  {stage}  {names}: the columns
INSERT INTO {table} ({names})
SELECT {names} FROM {stage}
ON CONFLICT (id) DO NOTHING
RETURNING id
