"""The core: pipeline, batches, offsets, claims, commits, watchdog. It uses no client library. Its classes get their
clock from the caller.
"""
