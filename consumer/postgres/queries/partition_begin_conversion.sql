-- Record that a conversion begins.
INSERT INTO partition_conversions (phase) VALUES ('made')
