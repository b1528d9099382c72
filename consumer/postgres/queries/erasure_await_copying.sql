-- Wait for the portion that a conversion is copying: it may have seen rows that are deleted by now. Later portions
-- cannot.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger copying', 0))
