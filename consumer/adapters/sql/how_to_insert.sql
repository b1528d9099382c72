-- How rows get into a table. Whether its ids are kept apart, as they are where ai_dialogue_log is partitioned and no index
-- can keep them unique: then this transaction keeps them itself, many at once, and the triggers that do so for other
-- writers leave its rows alone. And whether a trigger of somebody's may leave rows out, or change their ids.
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
