-- A table for the rows of an archived month. Without the check, attaching it would read all of it under a lock.
-- {partition}  {month}: YYYY-MM
DROP TABLE IF EXISTS {partition};
CREATE TABLE {partition} (LIKE ai_dialogue_log INCLUDING ALL);
ALTER TABLE {partition} ADD CONSTRAINT within_its_month CHECK (
  created_at >= '{month}-01' AND created_at < timestamp '{month}-01' + interval '1 month'
);
SELECT dress_dialogue_partition('{partition}', 'ai_dialogue_log', '{month}')
