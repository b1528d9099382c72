"""Measures the cost of decoding: each shape of events alone, and the mixture in each lane, with values not seen before.

It measures the CPU time of this process, from the record's value to the COPY row. The tasks take turns, so that a busy
machine slows all of them alike. Each figure is the median of the rounds. All caches are empty before each task.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Annotated

import typer

from bench import row_by_row
from consumer.decode import lanes
from consumer.decode.rows import decode_exactly
from consumer.events.dialogue import DIALOGUE
from consumer.events.record import StoredRecord
from consumer.generator.events import events
from consumer.generator.shapes import SHAPES

SLICE, RECORDS, LONG_RECORDS, ROUNDS, SEED = 250, 2000, 50, 15, 11
# These shapes have the same fields with nearly the same number of bytes. The other shapes have more or fewer bytes.
COMPARED = ("plain", "escaped", "markdown", "precise", "quoted", "offset")
EXACT, ROW_BY_ROW, BY_COLUMN = "exact lane", "msgspec, row by row", "msgspec, by the column"
Slices = Sequence[Sequence[StoredRecord]]
Decode = Callable[[Slices], None]


@dataclass(frozen=True, slots=True)
class Costs:
    """Microseconds of CPU for one dialogue.

    :param shapes: the cost of each shape alone, in the fast lane
    :param lanes: the cost of the mixture, by lane
    :param sizes: the mean bytes of a record of each shape
    """

    shapes: Mapping[str, float]
    lanes: Mapping[str, float]
    sizes: Mapping[str, float]

    @property
    def dearest(self) -> str:
        """The compared shape with the highest cost."""
        return max(COMPARED, key=self.shapes.__getitem__)

    @property
    def dearest_to_cheapest(self) -> float:
        """The cost of the dearest compared shape, divided by that of the cheapest."""
        compared = [self.shapes[name] for name in COMPARED]
        return max(compared) / min(compared)

    @property
    def exact_to_fast(self) -> float:
        """The cost in the exact lane, divided by the cost in the fast lane."""
        return self.lanes[EXACT] / self.lanes[BY_COLUMN]


def records_of(shape: str | None, count: int, seed: int) -> Slices:
    """Dialogues of one shape, or of the mixture, in slices as the service decodes them."""
    records = [
        StoredRecord("rag.dialogue", 0, place, event.timestamp_ms, None, event.value)
        for place, event in enumerate(events(count, seed, "dialogue", shape))
    ]
    return [records[start : start + SLICE] for start in range(0, count, SLICE)]


def decode_by_column(slices: Slices) -> None:
    """Decode as the service does."""
    for records in slices:
        lanes.decode_all(DIALOGUE, records)


def _decode_exactly(slices: Slices) -> None:
    for records in slices:
        for record in records:
            decode_exactly(DIALOGUE, record)


def _decode_row_by_row(slices: Slices) -> None:
    for records in slices:
        for record in records:
            row_by_row.decode(record)


def measure(rounds: int = ROUNDS) -> Costs:
    """Measure all shapes and lanes."""
    slices = {name: records_of(name, LONG_RECORDS if name == "long" else RECORDS, SEED) for name in SHAPES}
    mixture = records_of(None, RECORDS, SEED)
    decoders = {EXACT: _decode_exactly, ROW_BY_ROW: _decode_row_by_row, BY_COLUMN: decode_by_column}
    tasks = {name: (decode_by_column, found) for name, found in slices.items()}
    found = measure_tasks(tasks | {lane: (decode, mixture) for lane, decode in decoders.items()}, rounds)
    return Costs(
        {name: found[name] for name in SHAPES},
        {lane: found[lane] for lane in decoders},
        {name: _mean_size(slices[name]) for name in SHAPES},
    )


def measure_tasks(tasks: Mapping[str, tuple[Decode, Slices]], rounds: int) -> dict[str, float]:
    """Microseconds of CPU for one record of each task: the median of the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, (decode, slices) in tasks.items():
            lanes.forget()
            taken[name].append(cpu_seconds(decode, slices) * 1e6 / sum(map(len, slices)))
    return {name: median(found) for name, found in taken.items()}


def cpu_seconds(decode: Decode, slices: Slices) -> float:
    """CPU time of this process, without the garbage collector's."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        decode(slices)
        return time.process_time() - start
    finally:
        gc.enable()


def _mean_size(slices: Slices) -> float:
    sizes = [len(record.value or b"") for records in slices for record in records]
    return sum(sizes) / len(sizes)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = ROUNDS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure the CPU that decoding takes, by shape and by lane. No server is needed."""
    costs = measure(rounds)
    if as_json:
        sys.stdout.write(json.dumps(asdict(costs)) + "\n")
        return
    for name, micros in (*costs.shapes.items(), *costs.lanes.items()):
        size = f"{costs.sizes[name]:9,.0f} bytes" if name in costs.sizes else ""
        sys.stdout.write(f"{name:24}{micros:8.1f} µs{size}\n")
    sys.stdout.write(f"dearest ({costs.dearest}) / cheapest {costs.dearest_to_cheapest:.2f}\n")
    sys.stdout.write(f"exact lane / fast lane {costs.exact_to_fast:.2f}\n")


if __name__ == "__main__":
    typer.run(main)
