-- Remember under which namespace of string ids users are erased.
-- $1 hash of the namespace, null if none is set
UPDATE erasure_version SET namespace_hash = $1 WHERE namespace_hash IS NULL AND $1::bytea IS NOT NULL
