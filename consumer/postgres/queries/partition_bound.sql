-- Add a constraint that the table holds only rows of its month. Without it, attaching would read the whole table under
-- a lock.
-- {partition}  {month}: YYYY-MM
ALTER TABLE {partition} DROP CONSTRAINT IF EXISTS within_its_month;
ALTER TABLE {partition} ADD CONSTRAINT within_its_month CHECK (
  created_at >= '{month}-01' AND created_at < timestamp '{month}-01' + interval '1 month'
)
