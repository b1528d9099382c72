-- Keep the newest verdict on each dialogue. If two have the same time, keep the one that was read later.
INSERT INTO kept_feedback AS kept (dialogue_id, user_feedback, given_at)
SELECT DISTINCT ON (dialogue_id) dialogue_id, user_feedback, given_at
FROM stage_feedback
ORDER BY dialogue_id, given_at DESC, ctid DESC
ON CONFLICT (dialogue_id) DO UPDATE
SET user_feedback = excluded.user_feedback, given_at = excluded.given_at, applied_at = NULL,
    sqlstate = NULL
WHERE excluded.given_at >= kept.given_at
