-- Rollback of 0006_widen_daily_costs: the daily costs as narrow as before.
-- Fails, and changes nothing, while a stored day does not fit. One row a day: the rewrite is over at once.
-- squawk-ignore-file changing-column-type

BEGIN;
SET LOCAL lock_timeout = '5s';
DO $$
DECLARE
  too_wide bigint;
  first_day date;
BEGIN
  IF to_regclass('rag_metrics_history') IS NULL THEN
    RETURN;
  END IF;
  SELECT count(*), min(DATE(date)) INTO too_wide, first_day
  FROM rag_metrics_history
  WHERE abs(total_cost) >= 1e8 OR abs(cost_per_answer) >= 1e4;
  IF too_wide > 0 THEN
    RAISE EXCEPTION 'cannot narrow total_cost and cost_per_answer: % day(s) do not fit, the first is %', too_wide, first_day
      USING ERRCODE = 'numeric_value_out_of_range',
            HINT = 'Keep 0006, or move those rows of rag_metrics_history elsewhere first.';
  END IF;
END
$$;
ALTER TABLE IF EXISTS rag_metrics_history
  ALTER COLUMN total_cost TYPE NUMERIC(10,2),
  ALTER COLUMN cost_per_answer TYPE NUMERIC(6,2);
COMMIT;
