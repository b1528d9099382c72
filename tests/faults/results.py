"""What the scenarios found, in figures: a JSON document, and a table for the person who waits."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.scene import Scene

DIRECTORY = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figures:
    """One scenario. All counts from `lost` on have to be 0; times are the worst of all faults, in seconds.

    `written_s` is the time from the end of a fault until every partition was written again, `caught_up_s` until no
    more was missing than comes in one second.
    """

    title: str
    passed: bool
    seed: int
    faults: Mapping[str, int]
    records: int | None
    rows: int | None
    duplicates: int | None
    dead_letters: int | None
    lost: int | None
    doubled: int | None
    unaccounted: int | None
    invented: int | None
    written_s: float | None
    caught_up_s: float | None
    ended_by_themselves: int
    seconds: float


class Results:
    """The scenarios of one run."""

    def __init__(self) -> None:
        self.scenarios: list[Figures] = []

    @contextmanager
    def noted(self, title: str, seed: int, scene: AbstractContextManager[Scene]) -> Iterator[Scene]:
        """Play a scene, and note what came of it, however it ends."""
        passed, made, started = False, None, time.monotonic()
        try:
            with scene as made:
                yield made
            passed = True
        finally:
            self.scenarios.append(_figures(title, passed, seed, made, time.monotonic() - started))

    def write(self, file: Path) -> None:
        """Keep them."""
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"scenarios": [asdict(one) for one in self.scenarios]}, indent=1) + "\n")

    def lines(self) -> Iterator[str]:
        """A line for each."""
        for one in self.scenarios:
            times = " ".join(
                "    -" if value is None else f"{value:5.1f}" for value in (one.written_s, one.caught_up_s)
            )
            wrong = [one.lost, one.doubled, one.unaccounted, one.invented]
            yield f"{'ok    ' if one.passed else 'FAILED'} {one.seconds:6.1f} s  {times}  {wrong}  {one.title}"


def _figures(title: str, passed: bool, seed: int, scene: Scene | None, seconds: float) -> Figures:
    account: Mapping[str, Any] = asdict(scene.account) if scene and scene.account else {}
    recoveries = scene.recoveries if scene else []
    columns = ("records", "rows", "duplicates", "dead_letters", "lost", "doubled", "unaccounted", "invented")
    return Figures(
        title=title,
        passed=passed,
        seed=seed,
        faults=dict(scene.faults) if scene else {},
        **{name: account.get(name) for name in columns},
        written_s=max((round(one.written, 1) for one in recoveries), default=None),
        caught_up_s=max((round(one.caught_up, 1) for one in recoveries), default=None),
        ended_by_themselves=scene.fleet.ended_by_themselves if scene else 0,
        seconds=round(seconds, 1),
    )
