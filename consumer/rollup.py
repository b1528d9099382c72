"""The timer that keeps the daily aggregates equal to the rows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Protocol

from consumer.ports import Unavailable

DAYS_A_TURN = 31


class History(Protocol):
    """The daily aggregates."""

    async def roll_up_touched(self, at_most: int) -> Sequence[date] | None:
        """Compute touched days, newest first; None when another replica is at it.

        :raises Unavailable: try again later
        """
        ...

    async def newest(self) -> Mapping[str, Any] | None:
        """The newest day's row."""
        ...


class DayTelemetry(Protocol):
    """What is told of the days."""

    def rolled_up(self, days: Sequence[date]) -> None:
        """These days have been computed."""
        ...

    def newest_day(self, day: Mapping[str, Any]) -> None:
        """The newest day's row, by whichever replica it was computed."""
        ...

    def rollup_failed(self, problem: str) -> None:
        """The days could not be computed now; the marks are still there."""
        ...


class RollupTimer:
    """Rolls up every `interval` seconds; a restart loses nothing, as the marks are in the database."""

    def __init__(self, history: History, telemetry: DayTelemetry, interval: float) -> None:
        self._history, self._telemetry, self._interval = history, telemetry, interval

    async def run(self) -> None:
        """Roll up at once, then on the timer, for ever."""
        while True:
            try:
                await self.turn()
            except Unavailable as error:
                self._telemetry.rollup_failed(str(error))
            await asyncio.sleep(self._interval)

    async def turn(self) -> None:
        """Roll up until no touched day is left, then show the newest day."""
        while days := await self._history.roll_up_touched(DAYS_A_TURN):
            self._telemetry.rolled_up(days)
        day = await self._history.newest()
        if day is not None:
            self._telemetry.newest_day(day)
