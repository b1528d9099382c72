-- If ai_dialogue_log is partitioned: its partitions, whether one of them is the default, and the number of existing
-- triggers that maintain known ids. No row if it is not partitioned.
SELECT
    count(inhrelid) AS partitions,
    coalesce(bool_or(pg_get_expr(child.relpartbound, child.oid) = 'DEFAULT'), false) AS has_default,
    (
        SELECT count(*) FROM pg_trigger WHERE tgrelid = parent.oid AND tgname LIKE 'keep\_dialogue\_id\_on\_%' AND tgenabled <> 'D'
    ) AS keepers
FROM pg_class AS parent
LEFT JOIN pg_inherits ON inhparent = parent.oid
LEFT JOIN pg_class AS child ON child.oid = inhrelid
WHERE parent.oid = to_regclass('ai_dialogue_log') AND parent.relkind = 'p'
GROUP BY parent.oid
