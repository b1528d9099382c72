-- Statements that put ai_dialogue_log_new in the place of ai_dialogue_log, in the order in which they run: names of
-- tables and indexes, the old table's own triggers, and views, which would otherwise still read the old table.
WITH old AS (
    SELECT * FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass
),
indexes AS (
    SELECT index.relname, indisprimary FROM old JOIN pg_index ON indrelid = old.oid JOIN pg_class AS index ON index.oid = indexrelid
),
triggers AS (
    SELECT trigger.oid, tgname, tgenabled, pg_get_triggerdef(trigger.oid) AS definition
    FROM old JOIN pg_trigger AS trigger ON tgrelid = old.oid AND NOT tgisinternal
),
views AS (
    SELECT DISTINCT view.oid, 'WITH (' || array_to_string(view.reloptions, ', ') || ')' AS options
    FROM old
    JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = old.oid AND classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite AS rule ON rule.oid = objid
    JOIN pg_class AS view ON view.oid = ev_class AND view.relkind = 'v'
)
SELECT statement
FROM (
    SELECT 1 AS place, 'ALTER TABLE ai_dialogue_log RENAME TO ai_dialogue_log_before' AS statement
    UNION ALL
    SELECT 2, 'ALTER TABLE ai_dialogue_log_new RENAME TO ai_dialogue_log'
    UNION ALL
    SELECT 3, format('ALTER INDEX %I RENAME TO %I', relname, relname || '_before') FROM indexes
    UNION ALL
    SELECT 4, format('ALTER INDEX %I RENAME TO %I',
        CASE WHEN indisprimary THEN 'ai_dialogue_log_new_pkey' ELSE relname || '_new' END, relname)
    FROM indexes
    UNION ALL
    SELECT 5, definition FROM triggers
    UNION ALL
    SELECT 6, format('ALTER TABLE ai_dialogue_log %s TRIGGER %I',
        CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname)
    FROM triggers WHERE tgenabled <> 'O'
    UNION ALL
    SELECT 7, format('COMMENT ON TRIGGER %I ON ai_dialogue_log IS %L', tgname, description)
    FROM triggers JOIN pg_description ON objoid = triggers.oid AND classoid = 'pg_trigger'::regclass
    UNION ALL
    SELECT 8, 'SELECT watch_dialogue_ids()'
    UNION ALL
    SELECT 9, format('CREATE OR REPLACE VIEW %s %s AS %s', oid::regclass, options, pg_get_viewdef(oid)) FROM views
) AS steps
ORDER BY place, statement
