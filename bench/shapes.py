"""What it costs to decode each shape of events alone, with values that were not seen before.

CPU time of this process, from the record's value to the row of COPY. The shapes take turns, so that a busy machine
slows all of them alike; each figure is the median of the rounds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from consumer.decode import lanes
from consumer.events.dialogue import DIALOGUE
from consumer.events.record import StoredRecord
from consumer.generator.events import events

SLICE = 250
Slices = Sequence[Sequence[StoredRecord]]
Decode = Callable[[Slices], object]


def records_of(shape: str | None, count: int, seed: int) -> Slices:
    """Dialogues of one shape, or of the mixture, in slices as the service decodes them."""
    records = [
        StoredRecord("rag.dialogue", 0, place, event.timestamp_ms, None, event.value)
        for place, event in enumerate(events(count, seed, "dialogue", shape))
    ]
    return [records[start : start + SLICE] for start in range(0, count, SLICE)]


def decode_fast(slices: Slices) -> object:
    """As the service does."""
    lanes.forget()
    for records in slices:
        lanes.decode_all(DIALOGUE, records)
    return None


def measure(tasks: Mapping[str, tuple[Decode, Slices]], rounds: int) -> dict[str, float]:
    """Microseconds of CPU for one record of each task: the median of the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, (decode, slices) in tasks.items():
            taken[name].append(_cpu_seconds(decode, slices) * 1e6 / sum(map(len, slices)))
    return {name: median(found) for name, found in taken.items()}


def _cpu_seconds(decode: Decode, slices: Slices) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        decode(slices)
        return time.process_time() - start
    finally:
        gc.enable()
