-- One portion of a split: insert its new rows into the table and record their ids. `missing` holds the other ids.
-- Formatted in: table, names, values (what becomes of the staged columns), stage, new.
WITH portion AS (
    SELECT * FROM {stage} WHERE number >= at.number AND number < at.number + at.size
),
inserted AS (
    INSERT INTO {table} ({names})
    SELECT {values} FROM portion
    ORDER BY number
    ON CONFLICT (id) DO NOTHING
    RETURNING id
),
noted AS (
    INSERT INTO {new} SELECT id FROM inserted
)
SELECT array_agg(id) INTO missing FROM (SELECT id FROM portion EXCEPT SELECT id FROM inserted) AS others
