-- What there is of a user's traces: staged spans that are not empty, and rows of dialogue_traces.
-- $1 user
SELECT
    (
        SELECT count(*)
        FROM staged_spans
        WHERE content <> '' AND trace_id IN (
            SELECT trace_id FROM staged_spans WHERE user_id = $1
            UNION ALL
            SELECT dialogue_id FROM dialogue_traces WHERE user_id = $1
        )
    ) AS staged_spans,
    (SELECT count(*) FROM dialogue_traces WHERE user_id = $1) AS traces
