-- Whether a staged verdict is neither kept nor older than the kept one: a trigger of the owner has left it out.
SELECT EXISTS (
    SELECT FROM stage_feedback AS staged
    LEFT JOIN kept_feedback AS kept USING (dialogue_id)
    WHERE kept.given_at IS NULL OR kept.given_at < staged.given_at
) AS skipped
