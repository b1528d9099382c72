-- Rollback of 0015_keep_erasure_key. Lost: the key, and with it who the users are that were erased while none was set.
-- Where there are such, services write nothing afterwards: they cannot tell whom they would bring back. So it
-- refuses while there are, unless ragledger.delete_data is on (PGOPTIONS=-cragledger.delete_data=on).
-- squawk-ignore-file ban-drop-column

BEGIN;
SET LOCAL lock_timeout = '5s';

-- Whom the hashes are of can be told with the key alone. Its id is what stands beside each hash: the first 8 bytes of the
-- HMAC-SHA-256 of a fixed text (RFC 2104), as in consumer/ingest/erased.py.
DO $$
DECLARE
  secret bytea;
  inner_pad bytea := decode(repeat('36', 64), 'hex');
  outer_pad bytea := decode(repeat('5c', 64), 'hex');
  own_id text;
  erased bigint;
BEGIN
  IF to_regclass('erased_users') IS NULL OR current_setting('ragledger.delete_data', true) = 'on' OR NOT EXISTS (
    SELECT FROM pg_attribute WHERE attrelid = to_regclass('erasure_version') AND attname = 'key' AND NOT attisdropped
  ) THEN
    RETURN;
  END IF;
  SELECT CASE WHEN octet_length(key) > 64 THEN sha256(key) ELSE key END INTO secret FROM erasure_version;
  FOR place IN 0 .. coalesce(octet_length(secret), 0) - 1 LOOP
    inner_pad := set_byte(inner_pad, place, get_byte(inner_pad, place) # get_byte(secret, place));
    outer_pad := set_byte(outer_pad, place, get_byte(outer_pad, place) # get_byte(secret, place));
  END LOOP;
  own_id := encode(substring(sha256(outer_pad || sha256(inner_pad || 'ragledger erasure key'::bytea)) FOR 8), 'hex');
  SELECT count(*) INTO erased FROM erased_users WHERE key_id = own_id;
  IF erased > 0 THEN
    RAISE EXCEPTION '% users were erased under the key that is kept here', erased
      USING ERRCODE = 'object_in_use',
            HINT = 'Without it nobody can tell who they are, and services write nothing any more. Keep 0015, or delete it with `ragledger migrate down --delete-data`.';
  END IF;
END
$$;

ALTER TABLE IF EXISTS erasure_version DROP COLUMN IF EXISTS key;
COMMIT;
