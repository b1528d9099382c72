-- Store the end of the topic before notices are sent: every notice that is published lies after this end. An earlier
-- stored end for this topic stays. If two processes publish at once, the earlier end covers both.
-- $1 ids  $2 JSON object: topic to partition to end
UPDATE retention_notices SET sent_from = $2::jsonb || coalesce(sent_from, '{}') WHERE id = ANY ($1::uuid[])
