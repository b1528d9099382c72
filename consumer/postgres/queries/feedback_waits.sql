-- Whether any verdict waits for its dialogue.
SELECT EXISTS (SELECT FROM kept_feedback WHERE applied_at IS NULL) AS waits
