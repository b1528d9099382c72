-- Wait for the piece that a conversion is just copying: it may have seen what is deleted by now, and no later one can.
SELECT pg_advisory_xact_lock(hashtextextended('ragledger copying', 0))
