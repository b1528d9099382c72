"""Measures every contestant once in each round, in another order each time, so that drift affects all alike."""

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
    """A program that writes the rows into the tables."""

    @property
    def name(self) -> str:
        """The name in tables and pictures."""
        ...

    def prepare(self, times: int) -> None:
        """Prepare for the rounds: measure the cost of a start on empty topics, `times` times."""
        ...

    def measure(self, number: int) -> Measurement:
        """Measure one round from empty tables. `number` identifies the round."""
        ...


class RawCopy:
    """psql's `\\copy` of the ready rows."""

    def __init__(self, servers: Servers, rows: Sequence[Rows], file_format: str) -> None:
        self.name = COPY_NAMES[file_format]
        self._servers, self._rows, self._format = servers, rows, file_format

    def prepare(self, times: int) -> None:
        """Do nothing: raw COPY needs no preparation."""

    def measure(self, number: int) -> Measurement:
        """Measure one round."""
        database.reset(self._servers.connection)
        return measure_copy(self._servers, self._rows, self._format)


def copies(servers: Servers, rows: Sequence[Rows]) -> list[Contestant]:
    """Raw COPY in both formats."""
    return [RawCopy(servers, rows, file_format) for file_format in COPY_NAMES]


@dataclass(frozen=True, slots=True)
class Suite:
    """The results for one set of rows: the measurements of each round, and the reason why a contestant was skipped.

    :param names: the names of the contestants that took part, in the order of the tables
    """

    key: str
    rows: Sequence[Rows]
    names: Sequence[str]
    rounds: Sequence[Sequence[Measurement]]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str) -> list[Measurement]:
        """The measurements of one contestant, one for each round."""
        return [one for measured in self.rounds for one in measured if one.contestant == name]


class Rounds:
    """Prepares all contestants, then measures round by round. One that may fail is left out after a failure."""

    def __init__(
        self, contestants: Sequence[Contestant], may_fail: Collection[str], progress: Callable[[str], None]
    ) -> None:
        """:param progress: called with a description of each step"""
        self._contestants, self._may_fail, self._progress = contestants, may_fail, progress
        self.failed: dict[str, str] = {}

    def prepare(self, times: int) -> None:
        """Prepare all contestants.

        :raises BenchError: a contestant that may not fail has failed
        """
        for contestant in self._contestants:
            self._progress(f"preparing {contestant.name}")
            with self._noted(contestant):
                contestant.prepare(times)

    def measure(self, rounds: int) -> list[list[Measurement]]:
        """Return the measurements of each round, without contestants that failed.

        :raises BenchError: a contestant that may not fail has failed
        """
        measured = [self._one_round(number, rounds) for number in range(1, rounds + 1)]
        return [[one for one in some if one.contestant not in self.failed] for some in measured]

    def _one_round(self, number: int, rounds: int) -> list[Measurement]:
        start = (number - 1) % len(self._contestants)
        measured: list[Measurement] = []
        for contestant in [*self._contestants[start:], *self._contestants[:start]]:
            if contestant.name not in self.failed:
                self._progress(f"round {number} of {rounds}: {contestant.name}")
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
            self._progress(f"{contestant.name} is left out: {error}")
            self.failed[contestant.name] = str(error).partition("\n")[0]
