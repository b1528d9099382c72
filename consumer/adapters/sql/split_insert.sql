-- Insert staged rows in portions, each under a savepoint, and keep apart those that the table refuses. After a refusal
-- the portion is halved until the guilty row is alone; between a guilty row and the end of the portion that was refused
-- is at least that one, so half of that stretch is tried next. What follows a guilty row begins with a portion as long as
-- twice the stretch before it, and grows with each that goes in, as far as {seconds} seconds suffice at the pace of the one
-- before: one guilty row among n costs little more than log2(n) writes, where every row is guilty each costs one, and
-- where a trigger takes long about each row no statement grows beyond its time limit. Ends after {seconds} seconds at the latest, to be called again.
--
-- Whatever error a row alone raises is that row's, if a portion of no rows raises none: then the table is there, and so are
-- our rights. Only what PostgreSQL itself calls an outage is raised again; a SQLSTATE of such a class that a trigger has
-- chosen (RAISE is the innermost statement then) is not. Deferred constraints are checked portion by portion, after the
-- statement, as COMMIT would do it.
-- Formatted in: insert (of one portion), table, refused, progress, outages, raised, skipped, seconds.
DO $$
DECLARE
    at {progress};
    began CONSTANT timestamptz := clock_timestamp();
    portion_began timestamptz;
    missing uuid[];
    is_sound boolean := false;
    state text; in_schema text; in_table text; in_column text; in_constraint text; context text;
BEGIN
    SELECT * INTO at FROM {progress};
    WHILE at.number <= at.last AND clock_timestamp() < began + interval '{seconds} seconds' LOOP
        at.writes := at.writes + 1;
        portion_began := clock_timestamp();
        BEGIN
            SET CONSTRAINTS ALL DEFERRED;
            {insert};
            IF EXISTS (
                SELECT FROM unnest(missing) AS staged (id)
                WHERE NOT EXISTS (SELECT FROM {table} AS present WHERE present.id = staged.id)
            ) THEN
                RAISE EXCEPTION USING ERRCODE = '{skipped}', TABLE = '{table}';
            END IF;
            SET CONSTRAINTS ALL IMMEDIATE;
            at.number := at.number + at.size;
            at.since_guilty := at.since_guilty + at.size;
            at.affordable := at.size * {seconds} / greatest(extract(epoch FROM clock_timestamp() - portion_began), 0.001);
            at.size := greatest(1, least(at.affordable, CASE
                WHEN at.guilty_before > at.number THEN (at.guilty_before - at.number + 1) / 2
                ELSE least(8 * at.size, 2 * at.since_guilty)
            END));
        EXCEPTION WHEN query_canceled OR assert_failure OR OTHERS THEN  -- OTHERS leaves these two out
            GET STACKED DIAGNOSTICS
                state = RETURNED_SQLSTATE, in_schema = SCHEMA_NAME, in_table = TABLE_NAME,
                in_column = COLUMN_NAME, in_constraint = CONSTRAINT_NAME, context = PG_EXCEPTION_CONTEXT;
            IF state ~ '^({outages})' AND split_part(context, E'\n', 1) !~ '{raised}' THEN
                RAISE;
            END IF;
            IF at.size > 1 THEN
                at.guilty_before := at.number + at.size;
                at.size := at.size / 2;
            ELSE
                IF NOT is_sound THEN
                    at.size := 0;
                    {insert};
                    is_sound := true;
                END IF;
                INSERT INTO {refused} VALUES (at.number, state, in_schema, in_table, in_column, in_constraint);
                at.number := at.number + 1;
                at.guilty_before := at.number;
                at.size := greatest(1, least(at.affordable, 2 * at.since_guilty));
                at.since_guilty := 0;
            END IF;
        END;
    END LOOP;
    UPDATE {progress} SET (number, last, size, guilty_before, since_guilty, affordable, writes)
        = (at.number, at.last, at.size, at.guilty_before, at.since_guilty, at.affordable, at.writes);
END
$$
