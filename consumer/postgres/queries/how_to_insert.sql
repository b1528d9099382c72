-- How to insert rows into a table: two facts.
-- keeps_ids: whether the table keeps known ids. A partitioned ai_dialogue_log does, because no index can keep its ids
-- unique. Then this transaction inserts the ids itself, many at once, and the triggers for other writers skip its rows.
-- may_skip: whether a trigger of the owner may leave rows out, or change their ids.
-- $1 table
SELECT
    (
        SELECT set_config('ragledger.keeps_ids', 'on', true)
        FROM pg_trigger
        WHERE tgrelid = to_regclass($1::text) AND tgname = 'keep_dialogue_id_on_insert'
    ) IS NOT NULL AS keeps_ids,
    EXISTS (
        SELECT FROM pg_trigger
        WHERE tgtype & 7 = 7 AND tgenabled IN ('O', 'A')  -- 7: for each row, before, INSERT
          AND (tgrelid = to_regclass($1) OR tgrelid IN (SELECT relid FROM pg_partition_tree(to_regclass($1))))
    ) AS may_skip
