-- Keep traces that cannot become dialogues, with the reason. A trace has one dead letter: one that was replayed in vain,
-- or had another reason before, is open again with the newest reason. What somebody discarded stays discarded.
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
