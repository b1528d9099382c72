-- How many of the ids that were brought back the table has as well.
-- {partition}
SELECT count(*) AS doubled FROM {partition} JOIN ai_dialogue_log USING (id)
