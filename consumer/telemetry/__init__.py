"""Metrics, logs, and a thread that detects a blocked event loop."""
