"""Rows, batches and offsets. Pure: no clock, no log, no client library; whatever needs the time is given it."""
