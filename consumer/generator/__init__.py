"""Generates realistic events of every kind from a seed, for `ragledger generate`, the demo, the benchmark and tests.

The same seed gives the same events, in every process and on every version of Python.
"""

from consumer.generator.events import Event, Generator, events

__all__ = ["Event", "Generator", "events"]
