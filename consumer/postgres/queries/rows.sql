-- Statements about ai_dialogue_log and provenance: inserting rows, with staging tables and savepoints.


-- name: how_to_insert
-- How to insert rows into a table: five facts.
-- keeps_ids: whether the table keeps known ids. A partitioned ai_dialogue_log does, because no index can keep its ids
-- unique. Then this transaction inserts the ids itself, many at once, and the triggers for other writers skip its rows.
-- is_spread: whether it is distributed over a Citus cluster, which gives it a trigger of its own.
-- spread_key: whether such a table keeps known ids, although it has no triggers for it: then its primary key.
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
        SELECT FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
        WHERE tgrelid = to_regclass($1) AND proname = 'citus_truncate_trigger'
    ) AS is_spread,
    (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY array_position(indkey::int2[], attnum))
        FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
        WHERE indrelid = to_regclass($1) AND $1 = 'ai_dialogue_log' AND indisprimary AND EXISTS (
            SELECT FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
            WHERE tgrelid = to_regclass('known_ids') AND proname = 'citus_truncate_trigger'
        )
    ) AS spread_key,
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


-- name: ids_missing
-- The given ids that the table does not contain.
-- {table}  $1 ids
SELECT unnest($1::uuid[]) AS id
EXCEPT
SELECT id FROM {table} WHERE id = ANY ($1::uuid[])


-- name: make_stage
-- Create a temporary table with the columns of one of our tables, to stage rows for it. The columns come from the
-- catalog, because CREATE TABLE … (LIKE …) needs the right to read the whole table, and the service must not read its
-- texts. The stage has no constraints: the later INSERT checks them.
-- Formatted in: table, stage. DO takes no arguments.
DO $$
BEGIN
    EXECUTE (
        SELECT format(
            'CREATE TEMPORARY TABLE {stage} (%s) ON COMMIT DROP',
            string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' ORDER BY attnum)
        )
        FROM pg_attribute
        WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped
    );
END
$$


-- name: merge
-- Insert the new rows of the staging table into the table. A row whose id is already there is a duplicate. A conflict
-- with any other constraint is an error.
-- {table}  {stage}  {names}: the columns
INSERT INTO {table} ({names})
SELECT {names} FROM {stage}
ON CONFLICT (id) DO NOTHING
RETURNING id


-- name: merge_keeping_ids
-- Insert the new rows of the staging table into a table that keeps known ids: each new id once, with its first row. A
-- row whose id is already known is a duplicate. A conflict with any other constraint is an error.
-- {table}  {ids}: where its ids are kept  {stage}  {names}: the columns  {key}: the primary key
WITH new AS (
    INSERT INTO {ids} (id) SELECT id FROM {stage} ON CONFLICT (id) DO NOTHING RETURNING id
)
INSERT INTO {table} ({names})
SELECT {names} FROM {stage}
WHERE ctid IN (SELECT min({stage}.ctid) FROM {stage} JOIN new USING (id) GROUP BY id)
ON CONFLICT ({key}) DO NOTHING
RETURNING id


-- name: moments_of_rows
-- When these rows took place, as the table stores it.
-- {table}  {moment}: its column for the time  $1 ids
SELECT {moment} AS moment FROM {table} WHERE id = ANY ($1::uuid[])


-- name: rows_hidden
-- Whether row-level security hides rows of a table from our role: it applies to the role, and either no policy shows it
-- every row, or a restrictive policy hides some again. Also whether the table is distributed over a Citus cluster, which
-- gives it a trigger of its own.
-- $1 table
WITH ours AS (
    SELECT polpermissive AS permissive, pg_get_expr(polqual, polrelid) = 'true' AS shows_all
    FROM pg_policy
    WHERE polrelid = $1::text::regclass AND polcmd IN ('*', 'r') AND EXISTS (
        SELECT FROM unnest(polroles) AS role WHERE CASE WHEN role = 0 THEN true ELSE pg_has_role(role, 'USAGE') END
    )
)
SELECT
    current_user::text AS role,
    row_security_active($1::text) AND (
        NOT EXISTS (SELECT FROM ours WHERE permissive AND shows_all)
        OR EXISTS (SELECT FROM ours WHERE NOT permissive AND NOT shows_all)
    ) AS hidden,
    EXISTS (
        SELECT FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
        WHERE tgrelid = $1::text::regclass AND proname = 'citus_truncate_trigger'
    ) AS is_spread


-- name: split_begin
-- Start a split with the first staged rows as one portion.
-- Formatted in: first (how many), stage, progress.
INSERT INTO {progress} (number, last, size, rejected_before, accepted_since, affordable, writes, is_slow)
SELECT min(number), max(number), least({first}, max(number) - min(number) + 1), min(number), 0, {first}, 0, false
FROM {stage}


-- name: split_insert
-- Insert staged rows in portions, each under a savepoint, and record the rows that the table refuses.
-- After a refusal the portion is halved until the rejected row is alone. A refused portion contains at least one
-- rejected row, so after the first good half, half of the remaining rows are tried next. After a rejected row, the next
-- portion is twice as long as the run of good rows before it. Portions grow with each success, but only up to the
-- number of rows that fits into {seconds} seconds at the pace of the last portion. So if a trigger is slow for each
-- row, no statement exceeds its time limit. One rejected row among n costs little more than log2(n) writes. If every
-- row is rejected, each costs one write. The block returns after {seconds} seconds at the latest and is called again.
--
-- An error that a single row raises belongs to this row, if an empty portion raises none: then the table exists and our
-- rights suffice. Only errors that PostgreSQL itself calls an outage are raised again. A trigger may raise an SQLSTATE
-- of such a class; then RAISE is the innermost statement, and the error belongs to the row. Deferred constraints are
-- checked after each portion, as COMMIT would check them.
-- Formatted in: insert (of one portion), table, refused, progress, outages, raised, skipped, seconds.
DO $$
DECLARE
    at {progress};
    began CONSTANT timestamptz := clock_timestamp();
    portion_began timestamptz;
    took float8;
    missing uuid[];
    is_sound boolean;
    state text; in_schema text; in_table text; in_column text; in_constraint text; message text; context text;
BEGIN
    SELECT * INTO at FROM {progress};
    is_sound := coalesce(at.fixed > {seconds}, false);  -- it takes too long to be found out in each block
    IF at.is_slow AND at.fixed IS NULL THEN
        took := at.size;
        at.size := 0;
        portion_began := clock_timestamp();
        {insert};
        at.size := took;
        at.fixed := extract(epoch FROM clock_timestamp() - portion_began);
    END IF;
    WHILE at.number <= at.last AND clock_timestamp() < began + interval '{seconds} seconds' LOOP
        at.writes := at.writes + 1;
        portion_began := clock_timestamp();
        BEGIN
            SET CONSTRAINTS ALL DEFERRED;
            {insert};
            IF (SELECT count(DISTINCT id) FROM {table} WHERE id = ANY (missing)) < cardinality(missing) THEN
                RAISE EXCEPTION USING ERRCODE = '{skipped}', TABLE = '{table}';
            END IF;
            SET CONSTRAINTS ALL IMMEDIATE;
            at.number := at.number + at.size;
            at.accepted_since := at.accepted_since + at.size;
            took := extract(epoch FROM clock_timestamp() - portion_began);
            at.is_slow := took > {seconds};
            at.affordable := at.size * {seconds} / greatest(took - coalesce(at.fixed, 0), 0.001);
            at.size := greatest(1, least(at.affordable, CASE
                WHEN at.rejected_before > at.number THEN (at.rejected_before - at.number + 1) / 2
                ELSE least(8 * at.size, 2 * at.accepted_since)
            END));
        EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN  -- OTHERS leaves these two out
            GET STACKED DIAGNOSTICS
                state = RETURNED_SQLSTATE, in_schema = SCHEMA_NAME, in_table = TABLE_NAME,
                in_column = COLUMN_NAME, in_constraint = CONSTRAINT_NAME, message = MESSAGE_TEXT,
                context = PG_EXCEPTION_CONTEXT;
            IF state ~ '^({outages})' AND split_part(context, E'\n', 1) !~ '{raised}' THEN
                RAISE;
            END IF;
            IF at.size > 1 THEN
                at.rejected_before := at.number + at.size;
                at.size := at.size / 2;
            ELSE
                IF NOT is_sound THEN
                    at.size := 0;
                    {insert};
                    is_sound := true;
                END IF;
                INSERT INTO {refused} VALUES (at.number, state, in_schema, in_table, in_column, in_constraint, message);
                at.number := at.number + 1;
                at.rejected_before := at.number;
                at.size := greatest(1, least(at.affordable, 2 * at.accepted_since));
                at.accepted_since := 0;
            END IF;
        END;
    END LOOP;
    UPDATE {progress} SET (number, last, size, rejected_before, accepted_since, affordable, writes, is_slow, fixed)
        = (at.number, at.last, at.size, at.rejected_before, at.accepted_since, at.affordable, at.writes, at.is_slow, at.fixed);
END
$$


-- name: split_outcome
-- The outcome of each staged row, in the order of the COPY: refused, with the error; new; or else a duplicate. If an id
-- was staged twice, only the first row that was not refused can be new. For a foreign key's refusal, the result
-- contains its columns and the referenced table. If the index belongs to a partition, the result names the index of the
-- partitioned table. Of an error on a worker, Citus passes on only SQLSTATE and message, in which names of constraints
-- end with the number of a shard: their names are found in the catalog.
-- Formatted in: table, stage, new, refused.
WITH tables AS (
    SELECT '{table}'::regclass AS oid UNION SELECT relid FROM pg_partition_tree('{table}')
),
refusals AS (
    SELECT
        number, sqlstate,
        CASE WHEN is_reported THEN table_schema ELSE coalesce(found.nspname::text, '') END AS table_schema,
        CASE WHEN is_reported THEN table_name ELSE coalesce(found.relname::text, '') END AS table_name,
        CASE WHEN is_reported THEN column_name ELSE coalesce(missing.attname::text, '') END AS column_name,
        CASE WHEN is_reported THEN constraint_name ELSE coalesce(found.conname::text, '') END AS constraint_name
    FROM {refused} AS refused
    CROSS JOIN LATERAL (
        SELECT table_name <> '' OR constraint_name <> '' OR sqlstate NOT LIKE '23%' AS is_reported
    ) AS report
    LEFT JOIN LATERAL (
        SELECT attname FROM pg_attribute
        WHERE NOT is_reported AND sqlstate = '23502' AND attrelid = '{table}'::regclass AND attnum > 0
          AND strpos(message, '"' || attname || '"') > 0
        LIMIT 1
    ) AS missing ON true
    LEFT JOIN LATERAL (
        SELECT nspname, relname, conname
        FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE NOT is_reported AND conrelid IN (SELECT oid FROM tables) AND strpos(message, conname) > 0
        ORDER BY length(conname) DESC
        LIMIT 1
    ) AS found ON true
)
SELECT
    refused.sqlstate, refused.table_schema, refused.table_name, refused.column_name,
    coalesce((
        SELECT relname::text
        FROM pg_class
        WHERE oid = pg_partition_root(to_regclass(
            quote_ident(refused.table_schema) || '.' || quote_ident(refused.constraint_name)
        ))
    ), refused.constraint_name) AS constraint_name,
    reference.confrelid::regclass::text AS referred,
    (
        SELECT string_agg(attname, ', ' ORDER BY array_position(reference.conkey, attnum))
        FROM pg_attribute
        WHERE attrelid = reference.conrelid AND attnum = ANY (reference.conkey)
    ) AS columns,
    inserted.id IS NOT NULL
        AND row_number() OVER (PARTITION BY stage.id, refused.number IS NULL ORDER BY stage.number) = 1 AS is_new
FROM {stage} AS stage
LEFT JOIN refusals AS refused ON refused.number = stage.number
LEFT JOIN {new} AS inserted ON inserted.id = stage.id AND refused.number IS NULL
LEFT JOIN pg_constraint AS reference
    ON reference.contype = 'f'
    AND reference.conname = refused.constraint_name
    AND reference.conrelid = to_regclass(quote_ident(refused.table_schema) || '.' || quote_ident(refused.table_name))
ORDER BY stage.number


-- name: split_portion
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


-- name: split_portion_keeping_ids
-- One portion of a split into a table that keeps known ids: each new id once, with its first row. `missing` holds the
-- ids that were new but whose rows were not inserted.
-- Formatted in: table, ids (where its ids are kept), key (the primary key), names, values (what becomes of the staged
-- columns), stage, new.
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
    ON CONFLICT ({key}) DO NOTHING
    RETURNING id
),
noted AS (
    INSERT INTO {new} SELECT id FROM inserted
)
SELECT array_agg(id) INTO missing FROM (SELECT id FROM kept EXCEPT SELECT id FROM inserted) AS others


-- name: split_progress
-- Whether every staged row is inserted or refused, and the number of writes so far.
-- Formatted in: progress.
SELECT number > last AS is_done, writes FROM {progress}


-- name: split_tables
-- The temporary tables of a split. The stage accepts the encoded rows of the table and refuses as little as possible:
-- no lengths, no scales, no labels, JSON as raw bytes. The INSERT then finds a wrong row, row by row in the server; the
-- COPY would fail as a whole. The rows are numbered in the order of the COPY.
-- Formatted in: table, columns (a quoted list), stage, new, refused, progress. DO takes no arguments.
DO $$
BEGIN
    EXECUTE (
        SELECT format(
            'CREATE TEMPORARY TABLE {stage} (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, %s) ON COMMIT DROP',
            string_agg(
                format('%I %s', attname, CASE
                    WHEN base.typname = 'jsonb' THEN 'bytea'
                    WHEN base.typtype = 'e' THEN 'text'
                    ELSE format_type(base.oid, NULL)
                END),
                ', ' ORDER BY attnum
            )
        )
        FROM pg_attribute
        JOIN pg_type AS own ON own.oid = atttypid
        JOIN pg_type AS base ON base.oid = CASE own.typtype WHEN 'd' THEN own.typbasetype ELSE own.oid END
        WHERE attrelid = '{table}'::regclass AND attname IN ({columns})
    );
    CREATE TEMPORARY TABLE {new} (id uuid) ON COMMIT DROP;
    CREATE TEMPORARY TABLE {refused} (
        number bigint, sqlstate text, table_schema text, table_name text, column_name text, constraint_name text,
        message text
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE {progress} (
        number bigint NOT NULL, last bigint NOT NULL, size bigint NOT NULL, rejected_before bigint NOT NULL,
        accepted_since bigint NOT NULL, affordable bigint NOT NULL, writes bigint NOT NULL,
        is_slow boolean NOT NULL, fixed float8  -- seconds that a portion without rows takes, once that is known
    ) ON COMMIT DROP;
END
$$


-- name: split_values
-- Expressions that convert the columns of the stage to those of the table, in the order of the names.
-- $1 table  $2 column names
SELECT string_agg(
    CASE
        -- In jsonb's binary form, the text follows the version byte.
        WHEN base.typname = 'jsonb' THEN format('convert_from(substr(%I, 2), ''UTF8'')::jsonb', attname)
        WHEN base.typtype = 'e' THEN format('%I::%s', attname, format_type(base.oid, NULL))
        ELSE quote_ident(attname)
    END,
    ', ' ORDER BY array_position($2::text[], attname::text)
) AS values
FROM pg_attribute
JOIN pg_type AS own ON own.oid = atttypid
JOIN pg_type AS base ON base.oid = CASE own.typtype WHEN 'd' THEN own.typbasetype ELSE own.oid END
WHERE attrelid = $1::text::regclass AND attname = ANY ($2::text[])


-- name: visibility
-- The named tables in which this role may not see, change or delete every row: row-level security is active, and either
-- a restrictive policy limits the role, or for one of the three commands no permissive policy allows all rows.
-- $1 tables
SELECT named.name
FROM unnest($1::text[]) AS named (name)
WHERE to_regclass(named.name) IS NOT NULL
  AND row_security_active(to_regclass(named.name))
  AND EXISTS (
    SELECT FROM unnest(ARRAY['r', 'w', 'd']) AS needed (command)
    WHERE NOT EXISTS (
      SELECT FROM pg_policy AS policy
      WHERE policy.polrelid = to_regclass(named.name)
        AND policy.polpermissive
        AND policy.polcmd::text IN ('*', needed.command)
        AND pg_get_expr(policy.polqual, policy.polrelid) = 'true'
        AND EXISTS (
          SELECT FROM unnest(policy.polroles) AS role (oid)
          WHERE CASE WHEN role.oid = 0 THEN true ELSE pg_has_role(role.oid, 'USAGE') END
        )
    )
    OR EXISTS (
      SELECT FROM pg_policy AS policy
      WHERE policy.polrelid = to_regclass(named.name)
        AND NOT policy.polpermissive
        AND policy.polcmd::text IN ('*', needed.command)
    )
  )
