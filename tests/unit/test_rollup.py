"""The roll-up timer: touched days are computed in time, whatever goes wrong in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from itertools import pairwise
from typing import Any

from consumer.ports import Refused, StoreError, Unavailable
from consumer.rollup import RollupTimer
from tests.unit.virtual_time import passes

FIRST, SECOND = date(2026, 1, 31), date(2026, 2, 1)
DAY = {"date": FIRST}


class FakeHistory:
    """Touched days in memory."""

    def __init__(self, *days: date) -> None:
        self.marked = list(days)
        self.looks: list[float] = []
        self.outages: list[StoreError] = []
        self.refused: set[date] = set()
        self.somebody_else_is_at_it = False
        self.row: Mapping[str, Any] | None = DAY

    async def touched(self) -> Sequence[date]:
        self.looks.append(asyncio.get_running_loop().time())
        if self.outages:
            raise self.outages.pop(0)
        return sorted(self.marked, reverse=True)

    async def roll_up_touched(self, day: date) -> bool:
        if day in self.refused:
            raise Refused("numeric field overflow", "22003")
        if self.somebody_else_is_at_it:
            return False
        self.marked.remove(day)
        return True

    async def newest(self) -> Mapping[str, Any] | None:
        return self.row


class FakeAmendments:
    """Nothing waits, unless told otherwise."""

    def __init__(self) -> None:
        self.settled = 0
        self.silent: Sequence[str] = ()
        self.outages: list[StoreError] = []

    async def settle(self) -> Sequence[str]:
        if self.outages:
            raise self.outages.pop(0)
        self.settled += 1
        return self.silent


class FakeDayTelemetry:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.days: list[date] = []
        self.newest: list[Mapping[str, Any]] = []
        self.problems: list[str] = []
        self.silent: list[str] = []

    def plugins_silent(self, names: Sequence[str]) -> None:
        self.silent += names

    def rolled_up(self, days: Sequence[date]) -> None:
        self.days += days

    def newest_day(self, day: Mapping[str, Any]) -> None:
        self.newest.append(day)

    def rollup_failed(self, problem: str) -> None:
        self.problems.append(problem)


@asynccontextmanager
async def running(
    history: FakeHistory, telemetry: FakeDayTelemetry, amendments: FakeAmendments | None = None
) -> AsyncIterator[None]:
    """A timer that looks once a minute."""
    task = asyncio.create_task(RollupTimer(history, amendments or FakeAmendments(), telemetry, 60.0).run())
    yield
    assert not task.done(), "the timer has ended"
    task.cancel()


async def test_amendments_are_settled_before_the_days_are_computed() -> None:
    """What they change is in the same turn's days; silent plugins are told; an outage is tried again."""
    history, telemetry, amendments = FakeHistory(FIRST), FakeDayTelemetry(), FakeAmendments()
    amendments.silent, amendments.outages = ["wiki"], [Unavailable("gone", "connection")]
    async with running(history, telemetry, amendments):
        await passes(1)
        assert (amendments.settled, telemetry.days, telemetry.problems) == (0, [], ["gone"])
        await passes(60)
        assert (amendments.settled, telemetry.days, telemetry.silent) == (1, [FIRST], ["wiki"])


async def test_it_looks_at_once_and_then_on_the_timer() -> None:
    """Within one interval every touched day is computed."""
    history, telemetry = FakeHistory(FIRST), FakeDayTelemetry()
    async with running(history, telemetry):
        await passes(1)
        assert telemetry.days == [FIRST]
        history.marked = [SECOND]
        await passes(60)
        assert telemetry.days == [FIRST, SECOND]


async def test_one_turn_takes_every_day_there_is() -> None:
    """The newest first, which is the one that people look at."""
    days = [date.fromordinal(730_000 + number) for number in range(400)]
    history, telemetry = FakeHistory(*days), FakeDayTelemetry()
    async with running(history, telemetry):
        await passes(1)
    assert telemetry.days == days[::-1]


async def test_the_newest_day_is_shown_whoever_computed_it() -> None:
    """Also when another replica is at it, and when nothing was touched."""
    history, telemetry = FakeHistory(FIRST), FakeDayTelemetry()
    history.somebody_else_is_at_it = True
    async with running(history, telemetry):
        await passes(1)
        assert (telemetry.days, telemetry.newest) == ([], [DAY])
        history.somebody_else_is_at_it = False
        await passes(60)
        assert (telemetry.days, telemetry.newest) == ([FIRST], [DAY, DAY])


async def test_no_day_at_all_is_nothing_to_show() -> None:
    """An empty database is no error."""
    history, telemetry = FakeHistory(), FakeDayTelemetry()
    history.row = None
    async with running(history, telemetry):
        await passes(100)
    assert (telemetry.newest, telemetry.problems) == ([], [])


async def test_an_outage_is_told_and_tried_again_on_the_timer() -> None:
    """The marks are still in the database."""
    history, telemetry = FakeHistory(FIRST), FakeDayTelemetry()
    history.outages = [Unavailable("down", "connection"), Unavailable("still down", "connection")]
    async with running(history, telemetry):
        await passes(119)
        assert (telemetry.problems, telemetry.days) == (["down", "still down"], [])
        await passes(2)
        assert telemetry.days == [FIRST]


async def test_a_day_that_the_database_refuses_holds_up_no_other() -> None:
    """A sum too large for its column is told by its day, every time; the timer must not die silently."""
    history, telemetry = FakeHistory(FIRST, SECOND), FakeDayTelemetry()
    history.refused = {SECOND}
    async with running(history, telemetry):
        await passes(61)
        assert telemetry.days == [FIRST]
        assert telemetry.problems == ["2026-02-01: numeric field overflow"] * 2
        history.refused.clear()
        await passes(60)
        assert telemetry.days == [FIRST, SECOND]


async def test_the_interval_is_from_turn_to_turn() -> None:
    """One look a minute while there is nothing to do."""
    history, telemetry = FakeHistory(), FakeDayTelemetry()
    async with running(history, telemetry):
        await passes(300)
    assert [later - earlier for earlier, later in pairwise(history.looks)] == [60.0] * 4
