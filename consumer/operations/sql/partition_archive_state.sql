-- What stands for a month: attached where it is a partition, the phase of its archiving, and a table of that name, unless an
-- interrupted run has made it, which its check constraint tells.
-- $1 month  $2 name of its partition
SELECT 'attached' AS phase, partition::text AS partition
FROM dialogue_partitions('ai_dialogue_log')
WHERE NOT is_default AND begins_at < $1::date + interval '1 month' AND ends_at > $1::date
UNION ALL
SELECT phase, partition FROM partition_archives WHERE month = $1
UNION ALL
SELECT 'in the way', oid::regclass::text
FROM pg_class
WHERE oid = to_regclass($2) AND NOT relispartition
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = 'within_its_month')
