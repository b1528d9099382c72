-- Insert the new rows of the staging table into the table. A row whose id is already there is a duplicate. A conflict
-- with any other constraint is an error.
-- {table}  {stage}  {names}: the columns
INSERT INTO {table} ({names})
SELECT {names} FROM {stage}
ON CONFLICT (id) DO NOTHING
RETURNING id
