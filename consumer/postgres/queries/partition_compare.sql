-- The old table and its copy in one snapshot: number of rows, a sum over the values of each column, and number of known
-- ids.
-- {columns}: the columns of the table
SELECT old.row_count AS old_rows, copy.row_count AS new_rows, old.content = copy.content AS same_content,
       (SELECT count(*) FROM known_ids) AS ids
FROM (
    SELECT count(*) AS row_count, coalesce(sum(hashtextextended(ROW({columns})::text, 0)::numeric), 0) AS content
    FROM ONLY ai_dialogue_log
) AS old
CROSS JOIN (
    SELECT count(*) AS row_count, coalesce(sum(hashtextextended(ROW({columns})::text, 0)::numeric), 0) AS content
    FROM ai_dialogue_log_new
) AS copy
