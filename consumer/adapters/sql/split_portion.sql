-- One portion of a splitting insert: take what is new in it into the table, and note its ids.
-- Formatted in: table, names, values (what becomes of the staged columns), stage, new.
WITH inserted AS (
    INSERT INTO {table} ({names})
    SELECT {values} FROM {stage}
    WHERE number >= at.number AND number < at.number + at.size
    ORDER BY number
    ON CONFLICT DO NOTHING
    RETURNING id
)
INSERT INTO {new} SELECT id FROM inserted
