-- Whether any check waits for its provenance.
SELECT EXISTS (SELECT FROM kept_verifications WHERE applied_at IS NULL) AS waits
