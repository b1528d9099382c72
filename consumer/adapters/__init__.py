"""Where the client libraries live: one module is the only importer of each."""
