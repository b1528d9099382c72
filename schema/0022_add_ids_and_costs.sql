-- 0022_add_ids_and_costs: the UUIDs of string ids, and how costs came about.
--
-- dialogue_costs has a row for each dialogue whose cost was converted, computed or could not be told, and for each that
-- stated it in a currency other than yen. It is a table beside ai_dialogue_log, whose columns are the application's and
-- which has partitions, archives and copies. See docs/adr/0065-costs-beside-the-dialogues.md.
--
-- The functions do in SQL what RAGLEDGER_IDS__NAMESPACE does to events. The namespace is an argument and is not stored:
-- a person who knows it can guess ids and test which rows they belong to. See docs/adr/0064-string-ids.md.

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
  message := message || decode('80', 'hex') || decode(repeat('00', (119 - length(message) % 64) % 64), 'hex')
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

-- NULL for what no event may have as an id. An E string means the same under every standard_conforming_strings.
CREATE OR REPLACE FUNCTION user_id_of(namespace UUID, key TEXT) RETURNS UUID
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN key ~* E'^[0-9a-f]{8}(-?)[0-9a-f]{4}\\1[0-9a-f]{4}\\1[0-9a-f]{4}\\1[0-9a-f]{12}$' THEN key::uuid
  WHEN char_length(key) BETWEEN 1 AND 1024 THEN named_uuid(namespace, 'user:' || key)
END;

CREATE OR REPLACE FUNCTION session_id_of(namespace UUID, key TEXT) RETURNS UUID
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
  WHEN key ~* E'^[0-9a-f]{8}(-?)[0-9a-f]{4}\\1[0-9a-f]{4}\\1[0-9a-f]{4}\\1[0-9a-f]{12}$' THEN key::uuid
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

-- Under another namespace, an erased user would not be recognised by the original id.
ALTER TABLE erasure_version ADD COLUMN IF NOT EXISTS namespace_hash BYTEA;

COMMENT ON COLUMN erasure_version.namespace_hash IS 'HMAC-SHA-256, under the column key, of the namespace of string ids under which users were erased; NULL: none was set';

CREATE TABLE IF NOT EXISTS price_versions (
  version TEXT CONSTRAINT price_versions_pkey PRIMARY KEY,
  prices JSONB NOT NULL,
  adopted_at TIMESTAMPTZ,
  adopted_by TEXT,
  created_at TIMESTAMPTZ DEFAULT now() NOT NULL
);

CREATE TABLE IF NOT EXISTS dialogue_costs (
  dialogue_id UUID CONSTRAINT dialogue_costs_pkey PRIMARY KEY,
  created_at TIMESTAMP NOT NULL,
  source TEXT NOT NULL CONSTRAINT dialogue_costs_source_check
    CHECK (source IN ('stated', 'converted', 'computed', 'unpriced')),
  price_version TEXT NOT NULL,
  amount NUMERIC(21, 9),
  currency TEXT,
  cached_tokens INTEGER,
  is_final BOOLEAN DEFAULT FALSE NOT NULL
);

-- What other prices may change, so that nothing is searched while nothing has changed.
CREATE INDEX IF NOT EXISTS idx_dialogue_costs_open ON dialogue_costs (price_version, dialogue_id)
  WHERE source <> 'stated' AND NOT is_final;

-- What 0008 does, and the costs of deleted dialogues go too.
CREATE OR REPLACE FUNCTION mark_days_of_deleted_dialogues() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER AS $function$
BEGIN
  INSERT INTO touched_days (day)
  SELECT DISTINCT gone.day + shift
  FROM (SELECT DISTINCT DATE(created_at) AS day FROM deleted_dialogues) AS gone, generate_series(-1, 1) AS shift
  WHERE EXISTS (SELECT FROM rag_metrics_history AS history WHERE DATE(history.date) = gone.day + shift)
     OR EXISTS (SELECT FROM touched_days AS marked WHERE marked.day = gone.day + shift);
  DELETE FROM dialogue_costs USING deleted_dialogues WHERE dialogue_costs.dialogue_id = deleted_dialogues.id;
  RETURN NULL;
END
$function$;

DO $$
BEGIN
  -- The function runs with its owner's rights: the caller's search path must not lead it to other tables.
  EXECUTE format(
    'ALTER FUNCTION mark_days_of_deleted_dialogues() SET search_path = pg_catalog, %I, pg_temp', current_schema()
  );
  IF to_regrole('ragledger_ingest') IS NOT NULL THEN
    GRANT SELECT (model_used), UPDATE (token_cost_jpy) ON ai_dialogue_log TO ragledger_ingest;
    GRANT SELECT, INSERT, UPDATE ON dialogue_costs, price_versions TO ragledger_ingest;
  END IF;
  IF to_regrole('ragledger_compliance') IS NOT NULL THEN
    GRANT SELECT ON dialogue_costs, price_versions TO ragledger_compliance;
  END IF;
  IF (SELECT relowner FROM pg_class WHERE oid = 'ingest_ledger'::regclass) = to_regrole('ragledger_owner') THEN
    ALTER TABLE price_versions OWNER TO ragledger_owner;
    ALTER TABLE dialogue_costs OWNER TO ragledger_owner;
  END IF;
END
$$;

COMMENT ON TABLE price_versions IS 'Contents of the price file, by version. The one adopted last is in force';
COMMENT ON COLUMN price_versions.version IS 'Digest of the content: the same for two files that say the same';
COMMENT ON COLUMN price_versions.prices IS 'JSONB object: models (pattern, then since, currency, input, cached input, output per million tokens) and rates (since, yen) by currency';
COMMENT ON COLUMN price_versions.adopted_at IS 'When a replica that read the file last put it in force; NULL: none has';
COMMENT ON COLUMN price_versions.adopted_by IS 'Process that put it in force last, for people to read';
COMMENT ON COLUMN price_versions.created_at IS 'When it was first used';

COMMENT ON TABLE dialogue_costs IS 'How token_cost_jpy of a dialogue came about; no row: it was stated, or there was nothing to compute it from';
COMMENT ON COLUMN dialogue_costs.dialogue_id IS 'The dialogue: ai_dialogue_log(id)';
COMMENT ON COLUMN dialogue_costs.created_at IS 'When the dialogue took place, UTC: ai_dialogue_log(created_at)';
COMMENT ON COLUMN dialogue_costs.source IS 'stated: by the event in yen; converted: from amount and currency; computed: from tokens and prices; unpriced: no price or rate is known, token_cost_jpy is NULL';
COMMENT ON COLUMN dialogue_costs.price_version IS 'The price_versions(version) it was settled with; empty: without a price file';
COMMENT ON COLUMN dialogue_costs.amount IS 'Cost as the event has it, in its currency; NULL: it has none';
COMMENT ON COLUMN dialogue_costs.currency IS 'Currency of amount, by its ISO 4217 code';
COMMENT ON COLUMN dialogue_costs.cached_tokens IS 'Prompt tokens that came from a cache, as the event has them; part of prompt_tokens';
COMMENT ON COLUMN dialogue_costs.is_final IS 'TRUE: other prices do not change it any more, because its day has archived rows, or the database refuses to change the dialogue';

COMMIT;
