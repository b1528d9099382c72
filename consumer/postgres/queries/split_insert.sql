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
    state text; in_schema text; in_table text; in_column text; in_constraint text; context text;
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
            IF EXISTS (
                SELECT FROM unnest(missing) AS staged (id)
                WHERE NOT EXISTS (SELECT FROM {table} AS present WHERE present.id = staged.id)
            ) THEN
                RAISE EXCEPTION USING ERRCODE = '{skipped}', TABLE = '{table}';
            END IF;
            SET CONSTRAINTS ALL IMMEDIATE;
            at.number := at.number + at.size;
            at.since_guilty := at.since_guilty + at.size;
            took := extract(epoch FROM clock_timestamp() - portion_began);
            at.is_slow := took > {seconds};
            at.affordable := at.size * {seconds} / greatest(took - coalesce(at.fixed, 0), 0.001);
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
    UPDATE {progress} SET (number, last, size, guilty_before, since_guilty, affordable, writes, is_slow, fixed)
        = (at.number, at.last, at.size, at.guilty_before, at.since_guilty, at.affordable, at.writes, at.is_slow, at.fixed);
END
$$
