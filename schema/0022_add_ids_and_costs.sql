-- 0022_add_ids_and_costs: the UUIDs of string ids.
--
-- The functions do in SQL what RAGLEDGER_IDS__NAMESPACE does to events. The namespace is an argument and stored nowhere:
-- whoever has it can test which user a row belongs to by guessing ids. See docs/adr/0064-string-ids.md.

BEGIN;
SET LOCAL lock_timeout = '5s';

-- A UUID of version 5 (RFC 9562 §5.5). PostgreSQL has SHA-1 only in extensions, which not every server offers, so it is
-- written out here (RFC 3174).
CREATE OR REPLACE FUNCTION named_uuid(namespace UUID, name TEXT) RETURNS UUID
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog AS $$
DECLARE
  mask CONSTANT bigint := 4294967295;
  message bytea := uuid_send(namespace) || convert_to(name, 'UTF8');
  h bigint[] := ARRAY[1732584193, 4023233417, 2562383102, 271733878, 3285377520];
  w bigint[];
  a bigint;
  b bigint;
  c bigint;
  d bigint;
  e bigint;
  f bigint;
  k bigint;
  x bigint;
BEGIN
  message := message || '\x80'::bytea || decode(repeat('00', (119 - length(message) % 64) % 64), 'hex')
    || int8send(8 * length(message)::bigint);
  FOR block IN 0 .. length(message) / 64 - 1 LOOP
    FOR t IN 1 .. 80 LOOP
      IF t <= 16 THEN
        w[t] := ('x' || encode(substring(message FROM 64 * block + 4 * t - 3 FOR 4), 'hex'))::bit(32)::bigint;
      ELSE
        x := w[t - 3] # w[t - 8] # w[t - 14] # w[t - 16];
        w[t] := ((x << 1) | (x >> 31)) & mask;
      END IF;
    END LOOP;
    a := h[1];
    b := h[2];
    c := h[3];
    d := h[4];
    e := h[5];
    FOR t IN 1 .. 80 LOOP
      IF t <= 20 THEN
        f := (b & c) | ((~b) & mask & d);
        k := 1518500249;
      ELSIF t <= 40 THEN
        f := b # c # d;
        k := 1859775393;
      ELSIF t <= 60 THEN
        f := (b & c) | (b & d) | (c & d);
        k := 2400959708;
      ELSE
        f := b # c # d;
        k := 3395469782;
      END IF;
      x := ((((a << 5) | (a >> 27)) & mask) + f + e + k + w[t]) & mask;
      e := d;
      d := c;
      c := ((b << 30) | (b >> 2)) & mask;
      b := a;
      a := x;
    END LOOP;
    h := ARRAY[(h[1] + a) & mask, (h[2] + b) & mask, (h[3] + c) & mask, (h[4] + d) & mask, (h[5] + e) & mask];
  END LOOP;
  -- Version 5 and the variant of RFC 9562 stand in the second and the third word.
  RETURN (
    lpad(to_hex(h[1]), 8, '0') || lpad(to_hex((h[2] & x'FFFF0FFF'::bigint) | x'5000'::bigint), 8, '0')
    || lpad(to_hex((h[3] & x'3FFFFFFF'::bigint) | x'80000000'::bigint), 8, '0') || lpad(to_hex(h[4]), 8, '0')
  )::uuid;
END
$$;

-- NULL for what no event may have as an id.
CREATE OR REPLACE FUNCTION user_id_of(namespace UUID, key TEXT) RETURNS UUID
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN key ~* '^[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}$' THEN key::uuid
  WHEN char_length(key) BETWEEN 1 AND 1024 THEN named_uuid(namespace, 'user:' || key)
END;

CREATE OR REPLACE FUNCTION session_id_of(namespace UUID, key TEXT) RETURNS UUID
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN key ~* '^[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}$' THEN key::uuid
  WHEN char_length(key) BETWEEN 1 AND 1024 THEN named_uuid(namespace, 'session:' || key)
END;

DO $$
BEGIN
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER FUNCTION named_uuid(UUID, TEXT) OWNER TO ragledger_owner;
    ALTER FUNCTION user_id_of(UUID, TEXT) OWNER TO ragledger_owner;
    ALTER FUNCTION session_id_of(UUID, TEXT) OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON FUNCTION named_uuid(UUID, TEXT) IS 'The UUID of version 5 of a name in a namespace (RFC 9562)';
COMMENT ON FUNCTION user_id_of(UUID, TEXT) IS
  'The user_id that a user''s original id becomes under RAGLEDGER_IDS__NAMESPACE; a UUID stays what it is';
COMMENT ON FUNCTION session_id_of(UUID, TEXT) IS
  'The session_id that a session''s original id becomes under RAGLEDGER_IDS__NAMESPACE; a UUID stays what it is';

COMMIT;
