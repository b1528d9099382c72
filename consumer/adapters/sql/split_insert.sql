-- Insert staged rows in portions, each under a savepoint, and keep apart those that the table refuses. After a refusal
-- the portion is halved until the guilty row is alone; between a guilty row and the end of the portion that was refused
-- is at least that one, so half of that stretch is tried next. What follows a guilty row begins with a portion as long as
-- twice the stretch before it, and grows with each that goes in: one guilty row among n costs little more than log2(n)
-- writes, and where every row is guilty each costs one. Ends after {seconds} seconds at the latest, to be called again.
-- Formatted in: insert (of one portion), refused, progress, seconds.
DO $$
DECLARE
    at {progress};
    began CONSTANT timestamptz := clock_timestamp();
    state text; in_schema text; in_table text; in_column text; in_constraint text;
BEGIN
    SELECT * INTO at FROM {progress};
    WHILE at.number <= at.last AND clock_timestamp() < began + interval '{seconds} seconds' LOOP
        at.size := least(at.size, at.last - at.number + 1);
        at.writes := at.writes + 1;
        BEGIN
            {insert};
            at.number := at.number + at.size;
            at.since_guilty := at.since_guilty + at.size;
            at.size := CASE
                WHEN at.guilty_before > at.number THEN (at.guilty_before - at.number + 1) / 2
                ELSE least(8 * at.size, 2 * at.since_guilty)
            END;
        EXCEPTION
            WHEN data_exception OR integrity_constraint_violation OR with_check_option_violation
                OR program_limit_exceeded OR plpgsql_error OR SQLSTATE '45000' THEN  -- each the whole class
            IF at.size > 1 THEN
                at.guilty_before := at.number + at.size;
                at.size := at.size / 2;
            ELSE
                GET STACKED DIAGNOSTICS
                    state = RETURNED_SQLSTATE, in_schema = SCHEMA_NAME, in_table = TABLE_NAME,
                    in_column = COLUMN_NAME, in_constraint = CONSTRAINT_NAME;
                INSERT INTO {refused} VALUES (at.number, state, in_schema, in_table, in_column, in_constraint);
                at.number := at.number + 1;
                at.guilty_before := at.number;
                at.size := greatest(1, 2 * at.since_guilty);
                at.since_guilty := 0;
            END IF;
        END;
    END LOOP;
    UPDATE {progress} SET (number, last, size, guilty_before, since_guilty, writes)
        = (at.number, at.last, at.size, at.guilty_before, at.since_guilty, at.writes);
END
$$
