-- Take what is new in the staging table into the table.
-- {table}  {stage}  {names}: the columns
INSERT INTO {table} ({names})
SELECT {names} FROM {stage}
ON CONFLICT DO NOTHING
RETURNING id
