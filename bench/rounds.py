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


def run_rounds(contestants: Sequence[Contestant], rounds: int, tell: Callable[[str], None]) -> list[list[Measurement]]:
    """Measure `rounds` times.

    :param tell: is told what is being measured
    """
    return [_one_round(contestants, number, rounds, tell) for number in range(1, rounds + 1)]


def _one_round(
    contestants: Sequence[Contestant], number: int, rounds: int, tell: Callable[[str], None]
) -> list[Measurement]:
    start = (number - 1) % len(contestants)
    measured = []
    for contestant in [*contestants[start:], *contestants[:start]]:
        tell(f"round {number} of {rounds}: {contestant.name}")
        measured.append(contestant.measure(number))
    return measured
