"""Tests the roll-up timer, also when it fails in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from itertools import pairwise
from typing import Any

import pytest

from consumer.ingest.ports import Cause, Refused, StoreError, Unavailable
from consumer.maintenance.periodic import PeriodicJob
from consumer.maintenance.rollup import SINGLE_DAY_CAUSES, RollupJob
from tests.support.fakes import LoopClock
from tests.support.virtual_time import time_passes

FIRST, SECOND = date(2026, 1, 31), date(2026, 2, 1)
DAY = {"date": FIRST}


class FakeHistory:
    """Days in memory: marked days, and today, which is due whenever its row is not fresh."""

    def __init__(self, *days: date, today: date | None = None) -> None:
        self.marked = set(days)
        self.today = today
        self.computed: dict[date, float] = {}
        self.looks: list[float] = []
        self.outages: list[StoreError] = []
        self.refused: set[date] = set()
        self.refusal: StoreError = Refused("numeric field overflow", "22003")
        self.somebody_else_is_at_it = False
        self.seconds_a_day = 0.0
        self.difference = ""
        self.row: Mapping[str, Any] | None = DAY

    async def begin(self) -> str:
        self.looks.append(asyncio.get_running_loop().time())
        if self.outages:
            raise self.outages.pop(0)
        return self.difference

    async def due(self, fresh_seconds: float) -> Sequence[date]:
        days = self.marked | ({self.today} if self.today else set())
        return [day for day in sorted(days, reverse=True) if not self.is_fresh(day, fresh_seconds)]

    def is_fresh(self, day: date, seconds: float) -> bool:
        now = asyncio.get_running_loop().time()
        return day in self.computed and now - self.computed[day] < seconds

    async def roll_up_due(self, day: date, fresh_seconds: float) -> bool:
        if day in self.refused:
            raise self.refusal
        if self.somebody_else_is_at_it or self.is_fresh(day, fresh_seconds):
            return False
        self.marked.discard(day)
        self.computed[day] = asyncio.get_running_loop().time()
        await asyncio.sleep(self.seconds_a_day)
        return True

    async def newest(self) -> Mapping[str, Any] | None:
        return self.row


class FakeAmendments:
    """Has no waiting amendments, unless a test sets some."""

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
    """Records the reports."""

    def __init__(self) -> None:
        self.days: list[date] = []
        self.newest: list[Mapping[str, Any]] = []
        self.problems: list[str] = []
        self.differences: list[str] = []
        self.silent: list[str] = []
        self.successes = 0

    def rollup_succeeded(self) -> None:
        self.successes += 1

    def plugins_silent(self, names: Sequence[str]) -> None:
        self.silent += names

    def rolled_up(self, days: Sequence[date]) -> None:
        self.days += days

    def newest_day(self, day: Mapping[str, Any]) -> None:
        self.newest.append(day)

    def rollup_failed(self, problem: str) -> None:
        self.problems.append(problem)

    def rollup_settings_differ(self, difference: str) -> None:
        self.differences.append(difference)


@asynccontextmanager
async def running(
    history: FakeHistory,
    *telemetries: FakeDayTelemetry,
    apart: float = 0.0,
    amendments: FakeAmendments | None = None,
) -> AsyncIterator[None]:
    """Run one timer for each telemetry, with an interval of a minute and the given delays between their starts."""
    tasks = []
    for telemetry in telemetries:
        job = RollupJob(history, amendments or FakeAmendments(), telemetry, LoopClock(), 60.0)
        tasks.append(asyncio.create_task(PeriodicJob("roll-up", job.pause, job.run_once).run()))
        await time_passes(apart)
    yield
    assert not any(task.done() for task in tasks), "a timer has ended"
    for task in tasks:
        task.cancel()


async def test_amendments_are_settled_before_the_days_are_computed() -> None:
    """Their changes are in the days of the same run, silent plugins are reported, and a failure delays no day."""
    history, telemetry, amendments = FakeHistory(FIRST), FakeDayTelemetry(), FakeAmendments()
    amendments.silent, amendments.outages = ["wiki"], [Unavailable("gone", Cause.CONNECTION)]
    async with running(history, telemetry, amendments=amendments):
        await time_passes(1)
        assert (amendments.settled, telemetry.days, telemetry.successes) == (0, [FIRST], 0)
        assert [problem.endswith("cannot be applied: gone") for problem in telemetry.problems] == [True]
        await time_passes(30)
        assert (amendments.settled, telemetry.silent, telemetry.successes) == (1, ["wiki"], 1)


async def test_it_checks_at_once_and_then_on_the_timer() -> None:
    """Every touched day is computed within one interval."""
    history, telemetry = FakeHistory(FIRST), FakeDayTelemetry()
    async with running(history, telemetry):
        await time_passes(1)
        assert telemetry.days == [FIRST]
        history.marked = {SECOND}
        await time_passes(60)
        assert telemetry.days == [FIRST, SECOND]


async def test_one_run_computes_every_due_day() -> None:
    """It begins with the newest, because people look at that day."""
    days = [date.fromordinal(730_000 + number) for number in range(400)]
    history, telemetry = FakeHistory(*days), FakeDayTelemetry()
    async with running(history, telemetry):
        await time_passes(1)
    assert telemetry.days == days[::-1]


async def test_today_is_never_older_than_the_interval() -> None:
    """This holds without marks, and while four hundred marked days take eight minutes."""
    days = [date.fromordinal(730_000 + number) for number in range(400)]
    history, telemetry = FakeHistory(*days, today=SECOND), FakeDayTelemetry()
    history.seconds_a_day = 1.2
    async with running(history, telemetry):
        for _ in range(1200):
            await time_passes(1)
            assert history.is_fresh(SECOND, 60)
    assert set(telemetry.days) == {*days, SECOND}


async def test_a_day_that_takes_longer_than_the_interval_does_not_delay_the_others() -> None:
    """Today is due again when it is computed, but the other days are computed too."""
    history, telemetry = FakeHistory(FIRST, date(2026, 1, 1), today=SECOND), FakeDayTelemetry()
    history.seconds_a_day = 100.0
    async with running(history, telemetry):
        await time_passes(1000)
    assert set(telemetry.days) == {FIRST, SECOND, date(2026, 1, 1)}


async def test_many_replicas_compute_a_day_as_often_as_one() -> None:
    """A replica that finds a fresh row leaves it. A day under constant change is computed twice in an interval."""
    history = FakeHistory(today=SECOND)
    replicas = [FakeDayTelemetry() for _ in range(5)]
    async with running(history, *replicas, apart=7.0):
        await time_passes(600)
    computed = sum(len(telemetry.days) for telemetry in replicas)
    assert 10 <= computed <= 23


async def test_a_replica_that_dies_leaves_no_row_older_than_the_interval() -> None:
    """The other replica checks within half of the interval."""
    history, dying, living = FakeHistory(today=SECOND), FakeDayTelemetry(), FakeDayTelemetry()
    job = RollupJob(history, FakeAmendments(), dying, LoopClock(), 60.0)
    task = asyncio.create_task(PeriodicJob("roll-up", job.pause, job.run_once).run())
    await time_passes(29)
    async with running(history, living):
        await time_passes(2)  # the first replica has just computed: the worst moment for its end
        task.cancel()
        for _ in range(300):
            await time_passes(1)
            assert history.is_fresh(SECOND, 60)
    assert living.days


async def test_the_newest_day_is_shown_by_every_replica() -> None:
    """It is shown even if another replica computes it, and if no day was touched."""
    history, telemetry = FakeHistory(FIRST), FakeDayTelemetry()
    history.somebody_else_is_at_it = True
    async with running(history, telemetry):
        await time_passes(1)
        assert (telemetry.days, telemetry.newest) == ([], [DAY])
        history.somebody_else_is_at_it = False
        await time_passes(30)
        assert (telemetry.days, telemetry.newest) == ([FIRST], [DAY, DAY])


async def test_without_days_nothing_is_shown() -> None:
    """An empty database is not an error."""
    history, telemetry = FakeHistory(), FakeDayTelemetry()
    history.row = None
    async with running(history, telemetry):
        await time_passes(100)
    assert (telemetry.newest, telemetry.problems) == ([], [])


async def test_an_outage_is_reported_and_retried_on_the_timer() -> None:
    """Due days stay in the database."""
    history, telemetry = FakeHistory(FIRST), FakeDayTelemetry()
    history.outages = [Unavailable("down", Cause.CONNECTION), Unavailable("still down", Cause.CONNECTION)]
    async with running(history, telemetry):
        await time_passes(59)
        assert (telemetry.problems, telemetry.days) == (["down", "still down"], [])
        await time_passes(2)
        assert telemetry.days == [FIRST]


async def test_a_day_that_the_database_rejects_does_not_delay_the_others() -> None:
    """A sum that is too large for its column is reported with its day in every run; the timer does not stop."""
    history, telemetry = FakeHistory(FIRST, SECOND), FakeDayTelemetry()
    history.refused = {SECOND}
    async with running(history, telemetry):
        await time_passes(31)
        assert telemetry.days == [FIRST]
        assert telemetry.problems == ["2026-02-01: numeric field overflow"] * 2
        history.refused.clear()
        await time_passes(30)
        assert telemetry.days == [FIRST, SECOND]


async def test_a_run_that_computes_every_due_day_is_a_success() -> None:
    """It is one even if no day was due."""
    history, telemetry = FakeHistory(FIRST), FakeDayTelemetry()
    history.row = None
    async with running(history, telemetry):
        await time_passes(1)
        assert (telemetry.days, telemetry.successes) == ([FIRST], 1)
        await time_passes(30)
        assert (telemetry.days, telemetry.successes) == ([FIRST], 2)


async def test_a_run_that_reaches_its_time_limit_is_a_success() -> None:
    """A year of days that takes an hour is no failure as long as it makes progress."""
    days = [date.fromordinal(730_000 + number) for number in range(365)]
    history, telemetry = FakeHistory(*days), FakeDayTelemetry()
    history.seconds_a_day = 10.0
    async with running(history, telemetry):
        await time_passes(600)
        assert 0 < len(telemetry.days) < len(days)
        assert telemetry.successes == len(telemetry.days) // 3


@pytest.mark.parametrize("cause", sorted(SINGLE_DAY_CAUSES))
async def test_a_day_that_cannot_be_computed_now_does_not_delay_the_others(cause: Cause) -> None:
    """It has too many dialogues for the time limit, or a lock is held; as the newest day it is first in every run."""
    history, telemetry = FakeHistory(FIRST, SECOND), FakeDayTelemetry()
    history.refused, history.refusal = {SECOND}, Unavailable("not now", cause)
    await RollupJob(history, FakeAmendments(), telemetry, LoopClock(), 60.0).run_once()
    assert (telemetry.days, telemetry.successes) == ([FIRST], 0)


async def test_a_run_that_leaves_a_day_due_is_not_a_success() -> None:
    """There was an outage, the database rejected a day, or another replica computes it and may fail."""
    history, telemetry, amendments = FakeHistory(FIRST, SECOND), FakeDayTelemetry(), FakeAmendments()
    job = RollupJob(history, amendments, telemetry, LoopClock(), 60.0)
    history.outages = [Unavailable("down", Cause.CONNECTION)]
    await job.run_once()
    history.refused = {FIRST}
    amendments.outages = [Unavailable("down", Cause.CONNECTION)]
    await job.run_once()
    assert (telemetry.days, telemetry.successes) == ([SECOND], 0)
    history.refused.clear()
    history.somebody_else_is_at_it = True
    await job.run_once()
    assert telemetry.successes == 0
    history.somebody_else_is_at_it = False
    await job.run_once()
    assert (telemetry.days, telemetry.successes) == ([SECOND, FIRST], 1)


async def test_a_different_basis_in_force_is_reported() -> None:
    """It is reported in every run; telemetry decides how often to log it."""
    history, telemetry = FakeHistory(), FakeDayTelemetry()
    history.difference = "the time zone is Asia/Tokyo instead of UTC"
    async with running(history, telemetry):
        await time_passes(31)
    assert telemetry.differences == [history.difference] * 2


async def test_it_checks_twice_in_an_interval() -> None:
    """The time is measured from run to run if no day is due."""
    history, telemetry = FakeHistory(), FakeDayTelemetry()
    async with running(history, telemetry):
        await time_passes(300)
    assert [later - earlier for earlier, later in pairwise(history.looks)] == [30.0] * 9


async def test_a_timer_that_fires_late_computes_each_day_once() -> None:
    """It does so however many intervals it has missed."""
    history, telemetry = FakeHistory(FIRST, today=SECOND), FakeDayTelemetry()
    job = RollupJob(history, FakeAmendments(), telemetry, LoopClock(), 60.0)
    await job.run_once()
    await time_passes(3600)
    assert await job.run_once() is True
    assert telemetry.days == [SECOND, FIRST, SECOND]


async def test_a_run_can_treat_every_row_as_old() -> None:
    """This is for callers that need current rows."""
    history, telemetry = FakeHistory(today=SECOND), FakeDayTelemetry()
    job = RollupJob(history, FakeAmendments(), telemetry, LoopClock(), 60.0)
    for _ in range(2):
        await job.run_once(fresh_seconds=0)
    assert telemetry.days == [SECOND, SECOND]
