"""Searches for hostile records by code coverage, with atheris, which is not a requirement of the project:

    pip install atheris
    python -m tests.unit.fuzz.by_coverage -max_total_time=600

Add each record that it finds to :mod:`tests.unit.fuzz.values`, so that every run tries it.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["consumer.events", "consumer.ingest"]):
    from tests.unit.fuzz.checks import check_slice
    from tests.unit.fuzz.hostile import KINDS, Hostile, encode

MAX_BYTES = 4096
SEEDS = 300
_STRUCTURED = (("content-type", b"application/cloudevents+json"),)
_BINARY = (("ce_specversion", b"1.0"), ("ce_type", b"rag.dialogue"), ("ce_source", b"/s"), ("ce_id", b"1"))
_HEADERS = ((), (), (), _STRUCTURED, _BINARY, (("x", b"y"),))
_MAKERS = [Hostile(kind, random.Random(1)) for kind in KINDS]


def one_input(raw: bytes) -> None:
    """Check one input: its first byte chooses kind, envelope and place among plain records; the rest is the value."""
    chosen, value = raw[0] if raw else 0, raw[1:]
    hostile, headers = _MAKERS[chosen % len(_MAKERS)], _HEADERS[chosen // len(_MAKERS) % len(_HEADERS)]
    records = [hostile.plain(), hostile.plain()]
    records.insert(chosen // 32 % 3, hostile.record(value, headers))
    check_slice(hostile.kind, records, MAX_BYTES)


def write_seeds(directory: Path) -> None:
    """Write valid and nearly valid events as seeds."""
    for number in range(SEEDS):
        hostile = _MAKERS[number % len(_MAKERS)]
        event = hostile.changed() if number % 3 else hostile.plain_events[number % len(hostile.plain_events)]
        (directory / str(number)).write_bytes(bytes([number % len(_MAKERS)]) + encode(event)[:MAX_BYTES])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as seeds:
        write_seeds(Path(seeds))
        atheris.Setup([*sys.argv, seeds], one_input)
        atheris.Fuzz()
