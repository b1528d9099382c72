"""Generates wrong records for the demo. There are few kinds of faults, so that the demo's table stays short."""

from __future__ import annotations

from typing import Any, NamedTuple

from consumer.generator.events import Generator

Headers = tuple[tuple[str, bytes], ...]
_CITATION = {"source": "https://library.example", "confidence": 1.5}


class BadRecord(NamedTuple):
    """A record that becomes a dead letter, for the topic of a kind."""

    kind: str
    value: bytes | None
    headers: Headers = ()
    key: bytes | None = None


def bad_record(generator: Generator, number: int) -> BadRecord:
    """Return a bad record. `number` selects the fault; successive numbers cycle through all faults."""
    faults = (_not_json, _missing_field, _invalid_field, _nul_character, _wrong_kind, _tombstone)
    return faults[number % len(faults)](generator)


def _not_json(_generator: Generator) -> BadRecord:
    return BadRecord("dialogue", b'{"query": "cut off in the mid')


def _missing_field(generator: Generator) -> BadRecord:
    return _dialogue(generator, user_id=None)


def _invalid_field(generator: Generator) -> BadRecord:
    return _dialogue(generator, latency_ms=-1, citations=[_CITATION])


def _nul_character(generator: Generator) -> BadRecord:
    return _dialogue(generator, response="a NUL \0 in the text")


def _wrong_kind(generator: Generator) -> BadRecord:
    attributes = {
        "specversion": "1.0",
        "type": "rag.provenance",
        "source": "/demo",
        "id": generator.chance.random_id(),
    }
    headers = tuple((f"ce_{name}", text.encode()) for name, text in attributes.items())
    return _dialogue(generator)._replace(headers=headers)


def _tombstone(_generator: Generator) -> BadRecord:
    return BadRecord("provenance", None, key=b"content-1")  # compaction needs a key, and clients demand one


def _dialogue(generator: Generator, **changes: Any) -> BadRecord:
    return BadRecord("dialogue", generator.next("dialogue", **changes).value)
