-- Which of the staged verdicts tell something new, by their place: those newer than what is known of the dialogue; of
-- several of one moment the last, which is the one that is kept. To be asked before they are kept.
SELECT DISTINCT ON (staged.dialogue_id, staged.given_at) staged.place
FROM (
    SELECT dialogue_id, given_at, row_number() OVER (ORDER BY ctid) - 1 AS place FROM stage_feedback
) AS staged
LEFT JOIN kept_feedback AS kept ON kept.dialogue_id = staged.dialogue_id
WHERE kept.given_at IS NULL OR staged.given_at > kept.given_at
ORDER BY staged.dialogue_id, staged.given_at, staged.place DESC
