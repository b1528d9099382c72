"""The results of the scenarios: a JSON document, and a table for the terminal."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.results import this_machine
from consumer.devstack.jars import KAFKA_VERSION
from consumer.devstack.postgres import BUNDLED_VERSION
from tests.faults.audit import Account
from tests.faults.observer import Recovery
from tests.faults.scene import Scene

DIRECTORY = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Times:
    """Recovery times after the faults of one sort, in seconds: the median and the worst. `written`: until every
    partition was written again; `caught_up`: until at most the records of one second were missing.
    """

    count: int
    written: float
    written_worst: float
    caught_up: float
    caught_up_worst: float


@dataclass(frozen=True)
class Figures:
    """One scenario; `account` is missing if it failed early."""

    title: str
    passed: bool
    seed: int
    seconds: float
    account: Account | None
    happened: Mapping[str, int]
    times: Mapping[str, Times]
    rebalances: int | None
    ended_by_themselves: int

    @property
    def worst(self) -> tuple[float, float] | None:
        """The longest of all times."""
        found = self.times.values()
        return (max(one.written_worst for one in found), max(one.caught_up_worst for one in found)) if found else None


class Results:
    """The scenarios of one run."""

    def __init__(self) -> None:
        self.scenarios: list[Figures] = []

    @contextmanager
    def noted(self, title: str, seed: int, scene: AbstractContextManager[Scene]) -> Iterator[Scene]:
        """Run a scenario, and store its result, also if it fails."""
        passed, made, started = False, None, time.monotonic()
        try:
            with scene as made:
                yield made
            passed = True
        finally:
            if made is not None:
                self.scenarios.append(_figures(title, passed, seed, made, time.monotonic() - started))

    def write(self, directory: Path) -> None:
        """Store the results; the long run separately, because it runs on another day."""
        directory.mkdir(exist_ok=True)
        long = [one for one in self.scenarios if one.rebalances is not None]
        short = [one for one in self.scenarios if one.rebalances is None]
        for name, scenarios in (("long", long), ("scenarios", short)):
            if scenarios:
                (directory / f"{name}.json").write_text(json.dumps(_document(scenarios), indent=1) + "\n")

    def lines(self) -> Iterator[str]:
        """Return a line for each result."""
        for one in self.scenarios:
            times = "    -     -" if one.worst is None else "{:5.1f} {:5.1f}".format(*one.worst)
            wrong = "" if one.account is None or one.account.is_exact else str(one.account)
            yield f"{'ok    ' if one.passed else 'FAILED'} {one.seconds:6.1f} s  {times}  {one.title} {wrong}"


def _document(scenarios: Sequence[Figures]) -> dict[str, Any]:
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": asdict(this_machine()),
        "versions": {"Kafka": KAFKA_VERSION, "PostgreSQL": str(BUNDLED_VERSION)},
        "scenarios": [asdict(one) for one in scenarios],
    }


def _figures(title: str, passed: bool, seed: int, scene: Scene, seconds: float) -> Figures:
    return Figures(
        title=title,
        passed=passed,
        seed=seed,
        seconds=round(seconds, 1),
        account=scene.account,
        happened=dict(scene.happened) or {name: len(found) for name, found in scene.recoveries.items()},
        times={name: _times(found) for name, found in scene.recoveries.items()},
        rebalances=scene.rebalances,
        ended_by_themselves=scene.fleet.ended_by_themselves,
    )


def _times(found: Sequence[Recovery]) -> Times:
    written, caught_up = [one.written for one in found], [one.caught_up for one in found]
    figures = (statistics.median(written), max(written), statistics.median(caught_up), max(caught_up))
    return Times(len(found), *(round(figure, 1) for figure in figures))
