-- Drop spans that were kept long enough, and close their traces: spans that come later change nothing any more. Spans of
-- traces of which there are outlines alone go earlier. A trace that waits to be folded keeps all of its spans.
-- $1 hours  $2 hours for outlines  $3 at most
WITH old AS (
    SELECT id
    FROM staged_spans AS span
    WHERE staged_at < now() - least($1::float8, $2::float8) * interval '1 hour'
      AND (
          staged_at < now() - $1::float8 * interval '1 hour'
          OR NOT EXISTS (
              SELECT FROM staged_spans AS other
              WHERE other.trace_id = span.trace_id AND (NOT other.is_outline OR other.content = '')
          )
      )
      AND NOT EXISTS (SELECT FROM touched_traces AS touched WHERE touched.trace_id = span.trace_id)
    LIMIT $3
),
dropped AS (
    DELETE FROM staged_spans WHERE id IN (SELECT id FROM old) RETURNING trace_id
),
closed AS (
    UPDATE dialogue_traces
    SET closed_at = now()
    WHERE dialogue_id IN (SELECT trace_id FROM dropped) AND closed_at IS NULL
)
SELECT count(*) AS dropped FROM dropped
