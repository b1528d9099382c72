-- Open dead letters that were rejected because an id of a user or a session is no UUID.
SELECT count(*) AS records
FROM dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL AND reason = 'invalid_field'
  AND detail ->> 'message' LIKE '%RAGLEDGER\_IDS\_\_NAMESPACE%'
