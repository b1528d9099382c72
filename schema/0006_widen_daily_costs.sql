-- 0006_widen_daily_costs: room for the sums and means of the largest costs a dialogue may have.
--
-- token_cost_jpy takes up to 999,999.99. One such dialogue is a mean that cost_per_answer NUMERIC(6,2) cannot hold, and
-- a hundred and one are a sum that total_cost NUMERIC(10,2) cannot: the day could then never be computed.
-- More digits at the same scale change the catalog only: no row is rewritten, whatever the size of the table.
-- squawk-ignore-file changing-column-type

BEGIN;
SET LOCAL lock_timeout = '5s';
ALTER TABLE rag_metrics_history
  ALTER COLUMN total_cost TYPE NUMERIC(16,2),
  ALTER COLUMN cost_per_answer TYPE NUMERIC(10,2);
COMMIT;
