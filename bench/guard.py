"""Checks whether decoding has become slower: `python -m bench.guard`. It needs no server and no quiet machine.

It compares two ratios of CPU times with the recorded ratios:

- *work*: ragledger's work on the mixture, divided by a fixed piece of other work on the same events (the standard
  library's JSON parser and some arithmetic). The ratio differs between processors, so 30 % more is allowed.
- *dearest*: the dearest realistic shape with values not seen before, divided by the cheapest shape. Both are
  ragledger's work, so only 10 % more is allowed.

The tasks take turns of some milliseconds, so that a slow or busy machine slows all of them alike. The best repetition
of each piece counts. More repetitions follow while a ratio is above its limit: they remove noise, and code that has
become slower stays above it.
"""

from __future__ import annotations

import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.events import Event, events
from bench.shapes import COMPARED, SLICE, records_of
from consumer.decode import lanes
from consumer.decode.rows import Row
from consumer.events.amendments import FEEDBACK
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord

BOUND = Path(__file__).with_name("guard.json")
TOLERANCES: Mapping[str, float] = {"work": 1.3, "dearest": 1.1}
EVENTS, SHAPE_EVENTS, SEED = 10_000, 2_500, 7
REPETITIONS, MOST_REPETITIONS = 9, 45
_ARITHMETIC_STEPS = 100
_KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (DIALOGUE, PROVENANCE, FEEDBACK)}

Piece = Sequence[tuple[Kind, StoredRecord]]
Task = tuple[Callable[[Piece], object], Sequence[Piece]]


def main(
    update: Annotated[bool, typer.Option("--update", help="Record the present ratios as the reference.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Exit with code 1 if decoding and encoding cost more than the recorded ratios allow."""
    noted = json.loads(BOUND.read_text())
    for repetition, ratios in enumerate(measure(), 1):
        verdict = judge(ratios, noted)
        if repetition >= REPETITIONS and (update or verdict["ok"] or repetition == MOST_REPETITIONS):
            break
    if update:
        _note(ratios)
    sys.stdout.write((json.dumps(verdict) if as_json else _sentences(verdict)) + "\n")
    raise typer.Exit(0 if verdict["ok"] else 1)


def judge(ratios: Mapping[str, float], noted: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the ratios with the recorded ones."""
    limits = {name: round(noted[name] * tolerance, 3) for name, tolerance in TOLERANCES.items()}
    return {
        "ok": all(ratios[name] <= limit for name, limit in limits.items()),
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "noted": {name: noted[name] for name in TOLERANCES},
        "limits": limits,
        "python": _python(),
        "noted_on": noted["python"],
    }


def measure(count: int = EVENTS, shape_count: int = SHAPE_EVENTS) -> Iterator[dict[str, float]]:
    """Measure both ratios. Each repetition makes them more precise."""
    mixture = _pieces([(_KINDS[event.kind], _record(event, place)) for place, event in enumerate(events(count, SEED))])
    tasks: dict[str, Task] = {"ours": (_decode, mixture), "reference": (_reference, mixture)}
    for shape in COMPARED:
        slices = records_of(shape, shape_count, SEED)
        tasks[shape] = (_decode, [[(DIALOGUE, record) for record in records] for records in slices])
    for taken in _repeat(tasks):
        shapes = [taken[shape] for shape in COMPARED]
        yield {"work": taken["ours"] / taken["reference"], "dearest": max(shapes) / min(shapes)}


def _repeat(tasks: Mapping[str, Task]) -> Iterator[dict[str, float]]:
    """Yield the CPU time of each task after each repetition: the sum of the best repetition of each piece."""
    best = {name: [float("inf")] * len(pieces) for name, (_, pieces) in tasks.items()}
    gc.collect()
    gc.disable()
    try:
        while True:
            for name, (work, pieces) in tasks.items():
                lanes.forget()
                for place, piece in enumerate(pieces):
                    best[name][place] = min(best[name][place], _cpu_seconds(work, piece))
            gc.collect()
            yield {name: sum(times) for name, times in best.items()}
    finally:
        gc.enable()


def _cpu_seconds(work: Callable[[Piece], object], piece: Piece) -> float:
    start = time.process_time()
    work(piece)
    return time.process_time() - start


def _decode(piece: Piece) -> bytes:
    """Decode the values of records to the bytes of a COPY message."""
    kinds: dict[Kind, list[StoredRecord]] = {}
    for kind, record in piece:
        kinds.setdefault(kind, []).append(record)
    verdicts = [verdict for kind, records in kinds.items() for verdict in lanes.decode_all(kind, records)]
    return b"".join([verdict.encoded for verdict in verdicts if isinstance(verdict, Row)])


def _reference(piece: Piece) -> int:
    total = 0
    for _, record in piece:
        total += len(json.loads(record.value or b"{}"))
        for step in range(_ARITHMETIC_STEPS):
            total = (total * 31 + step) % 1_000_003
    return total


def _record(event: Event, offset: int) -> StoredRecord:
    return StoredRecord(event.kind, 0, offset, event.timestamp_ms, None, event.value)


def _pieces(records: Piece) -> list[Piece]:
    return [records[start : start + SLICE] for start in range(0, len(records), SLICE)]


def _note(ratios: Mapping[str, float]) -> None:
    noted = {name: round(ratio, 3) for name, ratio in ratios.items()} | {"python": _python()}
    BOUND.write_text(json.dumps(noted) + "\n")


def _python() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def _sentences(verdict: Mapping[str, Any]) -> str:
    found = [
        f"{name}: {verdict['ratios'][name]}; recorded {verdict['noted'][name]}, limit {verdict['limits'][name]}"
        for name in TOLERANCES
    ]
    if verdict["python"] != verdict["noted_on"]:
        found.append(f"recorded with Python {verdict['noted_on']}, measured with {verdict['python']}")
    if not verdict["ok"]:
        found.append(
            "Decoding has become slower. Check the changes in consumer/events and consumer/decode. If the cost is "
            "intended, record it with `python -m bench.guard --update`."
        )
    return "\n".join(found)


if __name__ == "__main__":
    typer.run(main)
