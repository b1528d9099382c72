-- Insert the new rows of the staging table into a table that keeps known ids: each new id once, with its first row. A
-- row whose id is already known is a duplicate. A conflict with any other constraint is an error.
-- {table}  {ids}: where its ids are kept  {stage}  {names}: the columns
WITH new AS (
    INSERT INTO {ids} (id) SELECT id FROM {stage} ON CONFLICT (id) DO NOTHING RETURNING id
)
INSERT INTO {table} ({names})
SELECT {names} FROM {stage}
WHERE ctid IN (SELECT min({stage}.ctid) FROM {stage} JOIN new USING (id) GROUP BY id)
ON CONFLICT (id, created_at) DO NOTHING
RETURNING id
