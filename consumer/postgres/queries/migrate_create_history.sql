-- Create the table of applied files. The first `ragledger migrate up` runs it; the files themselves do not need the
-- table.
CREATE TABLE IF NOT EXISTS schema_migrations (
  version INTEGER CONSTRAINT schema_migrations_pkey PRIMARY KEY,
  name TEXT NOT NULL,
  checksum TEXT NOT NULL,
  applied_at TIMESTAMPTZ DEFAULT now() NOT NULL,
  applied_by TEXT DEFAULT current_user NOT NULL,
  execution_ms INTEGER NOT NULL
);
COMMENT ON TABLE schema_migrations IS 'Files of the schema that ragledger migrate has applied';
COMMENT ON COLUMN schema_migrations.version IS 'Number of the file';
COMMENT ON COLUMN schema_migrations.name IS 'Name of the file without .sql';
COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of the file as it was applied, in hex';
COMMENT ON COLUMN schema_migrations.applied_at IS 'When it was applied';
COMMENT ON COLUMN schema_migrations.applied_by IS 'Database role that applied it';
COMMENT ON COLUMN schema_migrations.execution_ms IS 'How long it took, in milliseconds';
