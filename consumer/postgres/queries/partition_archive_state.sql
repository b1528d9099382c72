-- The state of a month: attached if it is a partition, the phase of its archiving, and 'in the way' for another table
-- with this name. A table that an interrupted run has created has a known check constraint and is not in the way.
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
