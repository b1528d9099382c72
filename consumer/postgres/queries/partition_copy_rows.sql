-- Copy the rows of some blocks of the old table. Rows that the mirror has already written are as new or newer, and
-- stay.
-- {columns}: the columns of the table  {first}, {end}: the first block and the one after the last
WITH copied AS (
    INSERT INTO ai_dialogue_log_new ({columns})
    SELECT {columns} FROM ONLY ai_dialogue_log WHERE ctid >= '({first},0)' AND ctid < '({end},0)'
    ON CONFLICT (id, created_at) DO NOTHING
    RETURNING 1
)
SELECT count(*) AS copied FROM copied
