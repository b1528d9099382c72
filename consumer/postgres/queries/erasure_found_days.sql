-- The quarters of an hour in which a user's dialogues took place. They determine the days in any time zone.
-- dialogues: erasure_of_user.sql for every table  $1 user
SELECT DISTINCT date_bin('15 minutes', created_at, '2000-01-01') AS moment FROM ({dialogues}) AS dialogue
