"""Rounds: every contestant once a round, each round in another order, so that drift falls on all alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from bench import database
from bench.dataset import Rows
from bench.errors import BenchError
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


class Rounds:
    """Prepares everybody, then measures round by round. Who may fail and does is left out from then on."""

    def __init__(
        self, contestants: Sequence[Contestant], may_fail: Collection[str], tell: Callable[[str], None]
    ) -> None:
        """:param tell: is told what is being done"""
        self._contestants, self._may_fail, self._tell = contestants, may_fail, tell
        self.failed: dict[str, str] = {}

    def prepare(self, times: int) -> None:
        """Let everybody get ready.

        :raises BenchError: one could not who may not fail
        """
        for contestant in self._contestants:
            self._tell(f"preparing {contestant.name}")
            with self._noted(contestant):
                contestant.prepare(times)

    def measure(self, rounds: int) -> list[list[Measurement]]:
        """The measurements of those who came through, round by round.

        :raises BenchError: one failed who may not
        """
        measured = [self._one_round(number, rounds) for number in range(1, rounds + 1)]
        return [[one for one in some if one.contestant not in self.failed] for some in measured]

    def _one_round(self, number: int, rounds: int) -> list[Measurement]:
        start = (number - 1) % len(self._contestants)
        measured: list[Measurement] = []
        for contestant in [*self._contestants[start:], *self._contestants[:start]]:
            if contestant.name not in self.failed:
                self._tell(f"round {number} of {rounds}: {contestant.name}")
                with self._noted(contestant):
                    measured.append(contestant.measure(number))
        return measured

    @contextmanager
    def _noted(self, contestant: Contestant) -> Iterator[None]:
        try:
            yield
        except BenchError as error:
            if contestant.name not in self._may_fail:
                raise
            self._tell(f"{contestant.name} is left out: {error}")
            self.failed[contestant.name] = str(error).partition("\n")[0]
