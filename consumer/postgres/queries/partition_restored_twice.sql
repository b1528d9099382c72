-- The number of restored ids that ai_dialogue_log has as well.
-- {partition}
SELECT count(*) AS doubled FROM {partition} JOIN ai_dialogue_log USING (id)
