-- The foreign keys of ai_dialogue_log as statements for ai_dialogue_log_new. They run last, because they lock the
-- referenced tables.
SELECT statement
FROM (
    SELECT 1 AS place, format('ALTER TABLE ai_dialogue_log_new ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) AS statement
    FROM pg_constraint WHERE conrelid = 'ai_dialogue_log'::regclass AND contype = 'f'
    UNION ALL
    SELECT 2, format('COMMENT ON CONSTRAINT %I ON ai_dialogue_log_new IS %L', conname, description)
    FROM pg_constraint AS con
    JOIN pg_description ON objoid = con.oid AND classoid = 'pg_constraint'::regclass
    WHERE conrelid = 'ai_dialogue_log'::regclass AND contype = 'f'
) AS steps
ORDER BY place, statement
