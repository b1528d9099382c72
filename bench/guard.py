"""`python -m bench.guard`: has decoding and encoding become slower? No server, and no clock on the wall.

The CPU time of our work on fixed events is held against that of fixed other work on the same events: the standard
library's JSON parser and some arithmetic. Both are done in turn, some milliseconds each, so that a slow machine and a
busy one slow both alike; each piece counts with its best repetition. What is compared is the ratio.
"""

from __future__ import annotations

import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.events import DIALOGUE_TABLE, PROVENANCE_TABLE, events
from consumer.decode.lanes import decode_all
from consumer.decode.rows import Row
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord

BOUND = Path(__file__).with_name("guard.json")
TOLERANCE = 1.3
EVENTS, SEED, PIECE, REPETITIONS = 20_000, 7, 250, 9
_ARITHMETIC_STEPS = 100
_KINDS: Mapping[str, Kind] = {DIALOGUE_TABLE: DIALOGUE, PROVENANCE_TABLE: PROVENANCE}

Piece = Sequence[tuple[Kind, StoredRecord]]


def main(
    update: Annotated[bool, typer.Option("--update", help="Note the present ratio as the one to keep.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Exit with 1 when decoding and encoding cost more than 30 % above what was noted."""
    ratio = measure(_pieces(EVENTS), REPETITIONS)
    if update:
        _note(ratio)
    verdict = judge(ratio, json.loads(BOUND.read_text()))
    sys.stdout.write((json.dumps(verdict) if as_json else _sentence(verdict)) + "\n")
    raise typer.Exit(0 if verdict["ok"] else 1)


def judge(ratio: float, noted: Mapping[str, Any]) -> dict[str, Any]:
    """The ratio against the noted one."""
    limit = noted["ratio"] * TOLERANCE
    return {
        "ok": ratio <= limit,
        "ratio": round(ratio, 3),
        "noted": noted["ratio"],
        "limit": round(limit, 3),
        "python": _python(),
        "noted_on": noted["python"],
    }


def measure(pieces: Sequence[Piece], repetitions: int) -> float:
    """CPU time of our work over that of the yardstick, each piece with the best of its repetitions."""
    ours, yardsticks = [float("inf")] * len(pieces), [float("inf")] * len(pieces)
    gc.collect()
    gc.disable()
    try:
        for _ in range(repetitions):
            for place, piece in enumerate(pieces):
                yardsticks[place] = min(yardsticks[place], _cpu_seconds(_yardstick, piece))
                ours[place] = min(ours[place], _cpu_seconds(_decode, piece))
            gc.collect()
    finally:
        gc.enable()
    return sum(ours) / sum(yardsticks)


def _cpu_seconds(work: Callable[[Piece], object], piece: Piece) -> float:
    start = time.process_time()
    work(piece)
    return time.process_time() - start


def _decode(piece: Piece) -> bytes:
    """From the record's value to the bytes of a COPY message."""
    kinds: dict[Kind, list[StoredRecord]] = {}
    for kind, record in piece:
        kinds.setdefault(kind, []).append(record)
    verdicts = [verdict for kind, records in kinds.items() for verdict in decode_all(kind, records)]
    return b"".join([verdict.encoded for verdict in verdicts if isinstance(verdict, Row)])


def _yardstick(piece: Piece) -> int:
    total = 0
    for _, record in piece:
        total += len(json.loads(record.value or b"{}"))
        for step in range(_ARITHMETIC_STEPS):
            total = (total * 31 + step) % 1_000_003
    return total


def _pieces(count: int) -> list[Piece]:
    records = [
        (_KINDS[event.table], StoredRecord(event.table, 0, offset, 1_772_431_200_000, None, event.value))
        for offset, event in enumerate(events(count, 0.1, SEED))
    ]
    return [records[start : start + PIECE] for start in range(0, count, PIECE)]


def _note(ratio: float) -> None:
    BOUND.write_text(json.dumps({"ratio": round(ratio, 3), "python": _python()}) + "\n")


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _sentence(verdict: Mapping[str, Any]) -> str:
    found = f"decoding and encoding take {verdict['ratio']} of the yardstick's CPU; {verdict['noted']} was noted"
    if verdict["python"] != verdict["noted_on"]:
        found += f" on Python {verdict['noted_on']}, this is {verdict['python']}"
    if verdict["ok"]:
        return f"{found}, up to {verdict['limit']} is fine."
    return (
        f"{found}, and more than {verdict['limit']} is too much. Look at what changed in consumer/events and "
        "consumer/ingest; where the cost is meant, note it with `python -m bench.guard --update`."
    )


if __name__ == "__main__":
    typer.run(main)
