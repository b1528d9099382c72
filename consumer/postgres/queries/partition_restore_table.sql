-- Create a table for the rows of an archived month.
-- {partition}  {month}: YYYY-MM
CREATE TABLE {partition} (LIKE ai_dialogue_log INCLUDING ALL);
SELECT dress_dialogue_partition('{partition}', 'ai_dialogue_log', '{month}')
