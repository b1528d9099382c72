-- Whether a staged check is not kept: a trigger of the owner has left it out.
SELECT EXISTS (
    SELECT FROM stage_verification AS staged
    LEFT JOIN kept_verifications AS kept USING (provenance_id, verified_at)
    WHERE kept.provenance_id IS NULL
) AS skipped
