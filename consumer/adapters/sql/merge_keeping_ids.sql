-- Take what is new in the staging table into a table whose ids are kept apart: each id once, with the first row that has it.
-- {table}  {ids}: where its ids are kept  {stage}  {names}: the columns
WITH new AS (
    INSERT INTO {ids} (id) SELECT id FROM {stage} ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO {table} ({names})
SELECT {names} FROM {stage}
WHERE ctid IN (SELECT min({stage}.ctid) FROM {stage} JOIN new USING (id) GROUP BY id)
ON CONFLICT DO NOTHING
RETURNING id
