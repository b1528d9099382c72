-- Statements about staged_spans, touched_traces and dialogue_traces.


-- name: drop_late_spans
-- Drop spans that arrived after their trace was closed: they no longer change the dialogue.
-- $1 traces
DELETE FROM staged_spans WHERE trace_id = ANY ($1::uuid[])


-- name: drop_old_spans
-- Drop spans that are older than the retention time, and close their traces: later spans no longer change the dialogue.
-- If a trace has only outlines, its spans are dropped earlier. A trace that waits to be folded keeps all of its spans.
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


-- name: due_traces
-- Return the traces to fold, oldest mark first: quiet traces, and traces whose root has arrived. If a trace with a root
-- was already tried since its newest mark, it must become quiet first. The fold deletes only the returned `marks`.
-- A mark that is committed later stays.
-- $1 seconds of quiet  $2 at most  $3 traces that were tried  $4 the newest mark of each at that time
SELECT trace_id, marks, is_quiet
FROM (
    SELECT
        trace_id, array_agg(id) AS marks, min(id) AS oldest, max(id) AS newest, bool_or(has_root) AS has_root,
        max(touched_at) <= clock_timestamp() - $1::float8 * interval '1 second' AS is_quiet
    FROM touched_traces
    GROUP BY trace_id
) AS touched
LEFT JOIN unnest($3::uuid[], $4::bigint[]) AS tried (trace_id, newest) USING (trace_id, newest)
WHERE is_quiet OR (has_root AND tried.trace_id IS NULL)
ORDER BY oldest
LIMIT $2


-- name: empty_traces
-- Empty the staged spans of traces whose user was erased. The empty rows stay, so that a later span of the trace is
-- emptied too.
-- $1 traces
UPDATE staged_spans
SET user_id = NULL, is_outline = true, resource = '', content = ''
WHERE trace_id = ANY ($1::uuid[]) AND content <> ''


-- name: erasure_found_traces
-- Count what is stored of a user's traces: staged spans that are not empty, and rows of dialogue_traces.
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


-- name: erasure_spans
-- Empty all staged spans of a user's traces, because spans that name nobody may concern the user too. The empty rows
-- stay, so that a later span of the trace is emptied too.
-- $1 user  $2 traces at most
WITH named AS (
    SELECT DISTINCT trace_id
    FROM (
        SELECT trace_id FROM staged_spans WHERE user_id = $1
        UNION ALL
        SELECT dialogue_id FROM dialogue_traces WHERE user_id = $1
    ) AS of_user
    WHERE EXISTS (SELECT FROM staged_spans AS span WHERE span.trace_id = of_user.trace_id AND span.content <> '')
    LIMIT $2
)
UPDATE staged_spans
SET user_id = NULL, is_outline = true, resource = '', content = ''
WHERE trace_id IN (SELECT trace_id FROM named) AND content <> ''
RETURNING id


-- name: erasure_traces
-- Delete the rows that connect the dialogues of a user with their traces.
-- $1 user  $2 at most
DELETE FROM dialogue_traces
WHERE dialogue_id IN (SELECT dialogue_id FROM dialogue_traces WHERE user_id = $1 LIMIT $2)
RETURNING dialogue_id


-- name: forget_trace_marks
-- Delete the marks of traces that were folded. Marks that were added meanwhile stay.
-- $1 marks
DELETE FROM touched_traces WHERE id = ANY ($1::bigint[])


-- name: keep_trace_letters
-- Store traces that cannot become dialogues as dead letters. A trace has one dead letter. If its replay failed, or if it
-- had another reason before, it is open again with the newest reason. A discarded dead letter stays discarded.
-- $1 topic  $2 partition that stands for traces  $3 traces, as numbers  $4 timestamps (ms)  $5 keys  $6 values
-- $7 headers  $8 reasons  $9 details  $10 SQLSTATEs
WITH letters AS (
    SELECT *
    FROM unnest(
        $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::jsonb[], $8::text[], $9::jsonb[], $10::text[]
    ) AS letter (record_offset, milliseconds, key, value, headers, reason, detail, sqlstate)
),
kept AS (
    UPDATE dead_letters AS kept
    SET key = letters.key, value = letters.value, headers = letters.headers, reason = letters.reason,
        detail = letters.detail, sqlstate = letters.sqlstate, replayed_at = NULL
    FROM letters
    WHERE kept.topic = $1 AND kept.partition = $2 AND kept.record_offset = letters.record_offset
      AND kept.reason <> 'erased_user'
)
INSERT INTO dead_letters
    (topic, partition, record_offset, record_timestamp, key, value, headers, reason, detail, sqlstate)
SELECT
    $1, $2, record_offset, 'epoch'::timestamptz + milliseconds * interval '1 millisecond', key, value, headers, reason,
    detail, sqlstate
FROM letters
WHERE NOT EXISTS (
    SELECT FROM dead_letters AS known
    WHERE known.topic = $1 AND known.partition = $2 AND known.record_offset = letters.record_offset
)
ORDER BY record_offset
ON CONFLICT (topic, partition, record_offset, record_timestamp) DO NOTHING


-- name: keep_traces
-- Record the trace of each dialogue.
-- $1 dialogues  $2 users  $3 created_at  $4 services  $5 environments  $6 spans  $7 model calls  $8 retrievals
-- $9 tool calls  $10 embeddings  $11 errors  $12 version of the mapping  $13 hashes
INSERT INTO dialogue_traces AS kept (
    dialogue_id, trace_id, user_id, created_at, service, environment, spans, model_calls, retrievals, tool_calls,
    embeddings, errors, mapping, content_hash
)
SELECT
    dialogue_id, replace(dialogue_id::text, '-', ''), user_id, created_at, service, environment, spans, model_calls,
    retrievals, tool_calls, embeddings, errors, $12::int, content_hash
FROM unnest(
    $1::uuid[], $2::uuid[], $3::timestamp[], $4::text[], $5::text[], $6::int[], $7::int[], $8::int[], $9::int[],
    $10::int[], $11::int[], $13::bytea[]
) AS folded (
    dialogue_id, user_id, created_at, service, environment, spans, model_calls, retrievals, tool_calls, embeddings,
    errors, content_hash
)
ON CONFLICT (dialogue_id) DO UPDATE SET
    user_id = excluded.user_id,
    created_at = excluded.created_at,
    service = excluded.service,
    environment = excluded.environment,
    spans = excluded.spans,
    model_calls = excluded.model_calls,
    retrievals = excluded.retrievals,
    tool_calls = excluded.tool_calls,
    embeddings = excluded.embeddings,
    errors = excluded.errors,
    mapping = excluded.mapping,
    content_hash = excluded.content_hash,
    folded_at = now()


-- name: lead_fold
-- Return whether this transaction may fold traces: one replica at a time. The lock belongs to the transaction, not to
-- the session, so it works behind a pooler.
SELECT pg_try_advisory_xact_lock(hashtextextended('ragledger fold', 0)) AS leads


-- name: settle_trace_letters
-- Settle the open dead letters of traces that have become dialogues.
-- $1 topic  $2 partition that stands for traces  $3 traces, as numbers
UPDATE dead_letters
SET replayed_at = now()
WHERE topic = $1 AND partition = $2 AND record_offset = ANY ($3::bigint[])
  AND replayed_at IS NULL AND discarded_at IS NULL


-- name: touch_traces
-- Mark traces with new spans for the next fold. Writes only add marks, so they never wait for each other.
-- $1 traces  $2 for each trace, whether its root is among the spans
INSERT INTO touched_traces (trace_id, has_root) SELECT * FROM unnest($1::uuid[], $2::boolean[])


-- name: trace_letters
-- Return the dead letters of traces.
-- $1 topic  $2 partition that stands for traces  $3 traces, as numbers
SELECT id FROM dead_letters WHERE topic = $1 AND partition = $2 AND record_offset = ANY ($3::bigint[])


-- name: trace_sizes
-- Return the number and the size of the staged spans of each trace.
-- $1 traces
SELECT trace_id, count(*) AS spans, sum(octet_length(content))::bigint AS bytes, bool_or(content = '') AS is_erased
FROM staged_spans
WHERE trace_id = ANY ($1::uuid[])
GROUP BY trace_id


-- name: trace_spans
-- Return the staged spans and log events of traces.
-- $1 traces
SELECT trace_id, user_id, is_log, resource, content FROM staged_spans WHERE trace_id = ANY ($1::uuid[])


-- name: trace_states
-- Return the stored state of each trace that has become a dialogue.
-- $1 traces
SELECT dialogue_id, created_at, content_hash, closed_at IS NOT NULL AS is_closed
FROM dialogue_traces
WHERE dialogue_id = ANY ($1::uuid[])


-- name: update_dialogues
-- Update dialogues whose traces have new spans. Feedback stays.
-- Formatted in: stage, columns, values (the same columns of the stage), place (a condition that limits the search to one
-- table partition).
UPDATE ai_dialogue_log AS dialogue
SET ({columns}) = ROW ({values})
FROM {stage} AS staged
JOIN dialogue_traces AS trace ON trace.dialogue_id = staged.id
WHERE dialogue.id = staged.id AND {place}
RETURNING dialogue.id, dialogue.created_at


-- name: waiting_traces
-- Count the traces with spans that are not folded yet.
SELECT count(DISTINCT trace_id) AS waiting FROM touched_traces
