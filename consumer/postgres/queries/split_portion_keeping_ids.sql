-- One portion of a split into a table that keeps known ids: each new id once, with its first row. `missing` holds the
-- ids that were new but whose rows were not inserted.
-- Formatted in: table, ids (where its ids are kept), names, values (what becomes of the staged columns), stage, new.
WITH portion AS (
    SELECT * FROM {stage} WHERE number >= at.number AND number < at.number + at.size
),
kept AS (
    INSERT INTO {ids} (id) SELECT id FROM portion ON CONFLICT (id) DO NOTHING RETURNING id
),
inserted AS (
    INSERT INTO {table} ({names})
    SELECT {values} FROM portion
    WHERE number IN (SELECT min(number) FROM portion JOIN kept USING (id) GROUP BY id)
    ORDER BY number
    ON CONFLICT (id, created_at) DO NOTHING
    RETURNING id
),
noted AS (
    INSERT INTO {new} SELECT id FROM inserted
)
SELECT array_agg(id) INTO missing FROM (SELECT id FROM kept EXCEPT SELECT id FROM inserted) AS others
