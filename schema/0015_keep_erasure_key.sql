-- 0015_keep_erasure_key: a key for the hashes of erased users, for whoever sets none: so that nobody has to prepare
-- anything before the first erasure. gen_random_uuid() has 122 bits from the system's generator for secrets, twice.
-- Whoever may read this row may try out ids against erased_users; a key that is set (RAGLEDGER_ERASURE__KEY) stays out
-- of the database. See docs/adr/0037-erasure-by-keyed-hash.md.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- The table has one row. It is locked for as long as it takes to write it again.
ALTER TABLE erasure_version ADD COLUMN IF NOT EXISTS key BYTEA NOT NULL
  -- squawk-ignore adding-field-with-default
  DEFAULT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8'));

COMMENT ON COLUMN erasure_version.key IS 'The key of the hashes of users erased while none was set; made once, at random';

COMMIT;
