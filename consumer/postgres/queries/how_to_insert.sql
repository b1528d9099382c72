-- How to insert rows into a table: three facts.
-- keeps_ids: whether the table keeps known ids. A partitioned ai_dialogue_log does, because no index can keep its ids
-- unique. Then this transaction inserts the ids itself, many at once, and the triggers for other writers skip its rows.
-- may_change: whether a trigger of the owner may leave rows out, or change their ids and times.
-- misfits: columns whose type reads other bytes than the service writes. PostgreSQL would refuse each row, or take the
-- bytes of one number for another number.
-- $1 table  $2 names of the columns  $3 types that the service writes
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
    ) AS may_change,
    ARRAY(
        SELECT format('%s has the type %s, not %s', written.name, format_type(own.oid, NULL), written.type)
        FROM unnest($2::text[], $3::text[]) AS written (name, type)
        JOIN pg_attribute ON attrelid = to_regclass($1) AND attname = written.name AND NOT attisdropped
        JOIN pg_type AS own ON own.oid = atttypid
        LEFT JOIN pg_type AS base ON base.oid = own.typbasetype
        JOIN pg_type AS read ON read.oid = CASE
            WHEN own.typtype <> 'd' THEN own.oid WHEN base.typtype = 'd' THEN base.typbasetype ELSE base.oid
        END
        JOIN pg_type AS sent ON sent.oid = to_regtype(written.type)
        WHERE read.oid <> sent.oid
          AND NOT (read.typcategory IN ('S', 'E') AND sent.typcategory IN ('S', 'E'))  -- text, varchar, an enum's label
          AND NOT (read.oid = 'timestamptz'::regtype AND sent.oid = 'timestamp'::regtype)  -- both are UTC here
    ) AS misfits
