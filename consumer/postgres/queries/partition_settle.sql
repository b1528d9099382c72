-- Delete from the copy the rows that were deleted while they were being copied, unless they have been inserted again.
WITH settled AS (
    DELETE FROM ai_dialogue_log_deleted RETURNING id, created_at
),
copies AS (
    DELETE FROM ai_dialogue_log_new AS copy
    USING settled
    WHERE copy.id = settled.id AND copy.created_at = settled.created_at
      AND NOT EXISTS (
        SELECT FROM ONLY ai_dialogue_log AS old WHERE old.id = settled.id AND old.created_at = settled.created_at
      )
)
DELETE FROM known_ids AS kept
USING settled
WHERE kept.id = settled.id AND NOT EXISTS (SELECT FROM ONLY ai_dialogue_log AS old WHERE old.id = settled.id)
