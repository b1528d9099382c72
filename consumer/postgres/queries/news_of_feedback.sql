-- The places of the staged verdicts that are new: verdicts newer than the kept one of the dialogue. If several have the
-- same time, only the last one, because this one is kept. Run it before the verdicts are kept.
SELECT DISTINCT ON (staged.dialogue_id, staged.given_at) staged.place
FROM (
    SELECT dialogue_id, given_at, row_number() OVER (ORDER BY ctid) - 1 AS place FROM stage_feedback
) AS staged
LEFT JOIN kept_feedback AS kept ON kept.dialogue_id = staged.dialogue_id
WHERE kept.given_at IS NULL OR staged.given_at > kept.given_at
ORDER BY staged.dialogue_id, staged.given_at, staged.place DESC
