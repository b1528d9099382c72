-- A conversion begins.
INSERT INTO partition_conversions (phase) VALUES ('made')
