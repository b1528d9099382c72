-- 0024_let_months_be_distributed: months of a table that is distributed over a Citus cluster.
--
-- On one server, make_dialogue_partition does what it did before. Citus runs no subquery without a column, and leaves the
-- rows of a table that it distributes on the coordinator too.

BEGIN;
SET LOCAL lock_timeout = '5s';

DO $$
BEGIN
  PERFORM set_config('search_path', quote_ident(nspname) || ', pg_temp', true)
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE pg_class.oid = 'ai_dialogue_log'::regclass;
END
$$;

CREATE OR REPLACE FUNCTION make_dialogue_partition(
  month date, at_most bigint, content regclass, OUT partition text, OUT moved bigint, OUT waiting bigint
)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  from_month CONSTANT timestamp := month;
  to_month CONSTANT timestamp := month + interval '1 month';
  default_partition regclass;
  columns text;
BEGIN
  partition := 'ai_dialogue_log_' || to_char(month, 'YYYY_MM');
  SELECT existing.partition INTO default_partition FROM dialogue_partitions('ai_dialogue_log') AS existing WHERE is_default;
  EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', default_partition);
  EXECUTE format(
    'SELECT count(*) FROM (SELECT 1 FROM %s WHERE created_at >= $1 AND created_at < $2 LIMIT $3 + 1) AS few',
    default_partition) INTO moved USING from_month, to_month, at_most;
  IF moved > at_most THEN
    waiting := moved;
    moved := 0;
    RETURN;
  END IF;
  IF content IS NULL THEN
    EXECUTE format('CREATE TABLE %I (LIKE ai_dialogue_log INCLUDING ALL)', partition);
    PERFORM dress_dialogue_partition(partition::regclass, 'ai_dialogue_log', to_char(month, 'YYYY-MM'));
  ELSE
    partition := content::text;
  END IF;
  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns
  FROM pg_attribute
  WHERE attrelid = 'ai_dialogue_log'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
  -- Of the statement that attaches a month, Citus makes one that adds the trigger for updated_at to its shards.
  PERFORM set_config('citus.enable_unsafe_triggers', 'on', true);
  -- The rows stay what they are: their ids are not given up.
  PERFORM set_config('ragledger.keeps_ids', 'on', true);
  EXECUTE format(
    'WITH leaving AS (DELETE FROM %1$s WHERE created_at >= $1 AND created_at < $2 RETURNING %2$s)'
    ' INSERT INTO %3$s (%2$s) SELECT %2$s FROM leaving', default_partition, columns, partition::regclass)
    USING from_month, to_month;
  PERFORM set_config('ragledger.keeps_ids', '', true);
  EXECUTE format(
    'ALTER TABLE ai_dialogue_log ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', partition::regclass, from_month, to_month);
  IF EXISTS (
    SELECT FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid
    WHERE tgrelid = partition::regclass AND proname = 'citus_truncate_trigger'
  ) THEN
    -- The coordinator still holds the rows that ATTACH has copied to the workers, where no query sees them.
    EXECUTE 'SELECT truncate_local_data_after_distributing_table($1)' USING partition::regclass;
  END IF;
  waiting := 0;
END
$$;

COMMIT;
