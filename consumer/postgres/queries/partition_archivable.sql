-- Months to archive, oldest first: whole months before $1 that are partitions, and months whose archiving was
-- interrupted, with the checksum of the file that may exist for them. Also the current time, UTC.
-- $1 the first day of the first month that stays
SELECT begins_at::date AS month, partition::text AS partition, 'attached' AS phase, NULL AS sha256,
       now() AT TIME ZONE 'UTC' AS now
FROM dialogue_partitions('ai_dialogue_log')
WHERE NOT is_default AND ends_at <= $1::date
  AND begins_at = date_trunc('month', begins_at) AND ends_at = begins_at + interval '1 month'
UNION ALL
SELECT month, partition, phase, sha256, now() AT TIME ZONE 'UTC'
FROM partition_archives WHERE month < $1 AND phase <> 'dropped'
ORDER BY month
