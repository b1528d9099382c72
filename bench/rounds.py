"""Rounds: every contestant once a round, each round in another order, so that drift falls on all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench import database
from bench.dataset import Rows
from bench.measure import COPY_NAMES, Measurement, measure_copy
from bench.servers import Servers


class Contestant(Protocol):
    """Somebody who gets the rows into the tables."""

    @property
    def name(self) -> str:
        """How tables and pictures call it."""
        ...

    def prepare(self, times: int) -> None:
        """Get ready, untimed: find out what a start costs that finds nothing to do, `times` times."""
        ...

    def measure(self, number: int) -> Measurement:
        """Do it once, from empty tables. Rounds are told apart by their number."""
        ...


class RawCopy:
    """psql's `\\copy` of the ready rows."""

    def __init__(self, servers: Servers, rows: Sequence[Rows], file_format: str) -> None:
        self.name = COPY_NAMES[file_format]
        self._servers, self._rows, self._format = servers, rows, file_format

    def prepare(self, times: int) -> None:
        """Nothing to get ready."""

    def measure(self, number: int) -> Measurement:
        """One round."""
        database.reset(self._servers.connection)
        return measure_copy(self._servers, self._rows, self._format)


def copies(servers: Servers, rows: Sequence[Rows]) -> list[Contestant]:
    """Raw COPY in both formats, the yardstick first."""
    return [RawCopy(servers, rows, file_format) for file_format in COPY_NAMES]


@dataclass(frozen=True, slots=True)
class Suite:
    """What came of one set of rows: the measurements round by round, and who could not take part, and why.

    :param names: of everybody who took part, in the order of the tables
    """

    key: str
    rows: Sequence[Rows]
    names: Sequence[str]
    rounds: Sequence[Sequence[Measurement]]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str) -> list[Measurement]:
        """One contestant's measurements, a round each."""
        return [one for measured in self.rounds for one in measured if one.contestant == name]


def run_rounds(
    contestants: Sequence[Contestant], rounds: int, tell: Callable[[str], None], may_fail: Collection[str] = ()
) -> tuple[list[list[Measurement]], dict[str, str]]:
    """Measure `rounds` times; also who failed, and why: the others go on without.

    :param tell: is told what is being measured
    :param may_fail: the names of those whose failure does not end the run
    :raises BenchError: one of the others failed
    """
    failed: dict[str, str] = {}
    measured = []
    for number in range(1, rounds + 1):
        in_turn = [*contestants[number % len(contestants) :], *contestants[: number % len(contestants)]]
        still_there = [one for one in in_turn if one.name not in failed]
        measured.append(_one_round(still_there, f"round {number} of {rounds}", number, tell, may_fail, failed))
    return [[one for one in some if one.contestant not in failed] for some in measured], failed


def _one_round(
    contestants: Sequence[Contestant],
    title: str,
    number: int,
    tell: Callable[[str], None],
    may_fail: Collection[str],
    failed: dict[str, str],
) -> list[Measurement]:
    measured = []
    for contestant in contestants:
        tell(f"{title}: {contestant.name}")
        try:
            measured.append(contestant.measure(number))
        except BenchError as error:
            if contestant.name not in may_fail:
                raise
            failed[contestant.name] = str(error)
    return measured
