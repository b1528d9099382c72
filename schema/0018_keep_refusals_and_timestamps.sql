-- 0018_keep_refusals_and_timestamps: what the database refused to apply is set aside with its SQLSTATE, and a dead letter
-- keeps the timestamp of its record exactly, whatever unit its producer took it to be in.
--
-- Every column is NULL where there is nothing to say, so nothing is written again.

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE kept_feedback ADD COLUMN IF NOT EXISTS sqlstate TEXT;
COMMENT ON COLUMN kept_feedback.applied_at IS 'When it was written into the dialogue, or refused; NULL while that is not there';
COMMENT ON COLUMN kept_feedback.sqlstate IS 'SQLSTATE with which the database refused to write it into the dialogue; NULL: it did not';

COMMIT;

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE kept_verifications ADD COLUMN IF NOT EXISTS sqlstate TEXT;
COMMENT ON COLUMN kept_verifications.applied_at IS 'When it was taken into account in the row, or refused; NULL while that is not there';
COMMENT ON COLUMN kept_verifications.sqlstate IS 'SQLSTATE with which the database refused to write it into the row; NULL: it did not';

COMMIT;

BEGIN;
SET LOCAL lock_timeout = '5s';

ALTER TABLE dead_letters ADD COLUMN IF NOT EXISTS record_timestamp_ms BIGINT;
COMMENT ON COLUMN dead_letters.record_timestamp IS 'Timestamp of the record; tells it from one at the same offset of a topic made anew. Beyond the year 9999 it is taken to be in microseconds, or else nanoseconds';
COMMENT ON COLUMN dead_letters.record_timestamp_ms IS 'Timestamp of the record as Kafka has it, in milliseconds, where that lies outside the years 1 to 9999; NULL: record_timestamp says it';

COMMIT;
