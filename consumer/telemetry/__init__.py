"""Metrics, logs, and the guard of the event loop."""
