"""An operator's jobs, one module each."""
