-- Take what is new in the staging table into a table whose ids are kept apart: each id once, with the first row that has
-- it. A row whose id is there is a duplicate; a conflict with any other constraint is an error.
-- {table}  {ids}: where its ids are kept  {stage}  {names}: the columns
WITH new AS (
    INSERT INTO {ids} (id) SELECT id FROM {stage} ON CONFLICT (id) DO NOTHING RETURNING id
)
INSERT INTO {table} ({names})
SELECT {names} FROM {stage}
WHERE ctid IN (SELECT min({stage}.ctid) FROM {stage} JOIN new USING (id) GROUP BY id)
ON CONFLICT (id, created_at) DO NOTHING
RETURNING id
