"""Runs a program that consumes the topics as a contestant: idle starts first, then one start in each round."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from bench import database, usage
from bench.dataset import Rows
from bench.errors import BenchError
from bench.measure import IdleStart, Measurement, check_rows, measure_program
from bench.program import Program
from bench.servers import Servers

READY_TIMEOUT_S = 120.0
_POLL_S = 0.02


class Consumer(ABC):
    """A program that reads the topics of the rows from the beginning, with a new consumer group at each start."""

    def __init__(self, name: str, servers: Servers, rows: Sequence[Rows]) -> None:
        self.name = name
        self._servers, self._rows = servers, rows
        self.idle = IdleStart(0.0, 0.0)

    @abstractmethod
    def _start(self, group: str, *, idle: bool) -> Program:
        """Start the program; if `idle`, on empty topics."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the last started program has joined its group."""

    def prepare(self, times: int) -> None:
        """Measure the cost of a start on empty topics: the median of several starts.

        :raises BenchError: the program does not start
        """
        self.idle = IdleStart.median([self._idle_start(number) for number in range(times)])

    def _idle_start(self, number: int) -> IdleStart:
        program = self._start(self._group("idle", number), idle=True)
        try:
            with program.explained():
                self.wait_until_ready(program)
            return IdleStart(usage.cpu_seconds(program.pid), time.monotonic() - program.started)
        finally:
            program.kill()

    def wait_until_ready(self, program: Program) -> None:
        """Wait until the last started program has joined its group.

        :raises BenchError: the program ends by itself or takes too long
        """
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._is_ready():
            program.check()
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} was not ready within {READY_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)

    def measure(self, number: int) -> Measurement:
        """Measure one round from empty tables, and check every row.

        :raises BenchError: the program ends by itself, takes too long, or writes wrong rows
        """
        database.reset(self._servers.connection)
        measured = self.measure_unchecked(self._group("round", number))
        check_rows(self._servers, self._rows, self.name)
        return measured

    def measure_unchecked(self, group: str) -> Measurement:
        """Measure without emptying the tables. The rows are counted but not checked.

        :raises BenchError: the program ends by itself or takes too long
        """
        program = self._start(group, idle=False)
        try:
            measured = measure_program(self._servers, self._rows, program, self.idle, lambda: self._is_done(group))
            with program.explained():
                self._end(program)
        finally:
            program.kill()
        return measured

    def _is_done(self, _group: str) -> bool:
        """Whether the work that makes no rows is also done. A program that only writes rows has no such work."""
        return True

    def _end(self, program: Program) -> None:
        """End the program as an operator does."""
        program.stop()

    def _group(self, purpose: str, number: int) -> str:
        """The name of an unused consumer group. The tables in it distinguish the suites."""
        return f"bench-{purpose}-{number}-of-{'-'.join(part.table for part in self._rows)}"
