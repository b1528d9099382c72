"""The timer that keeps the daily aggregates equal to the rows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Protocol

from consumer.ports import Refused, StoreError


class History(Protocol):
    """The daily aggregates."""

    async def touched(self) -> Sequence[date]:
        """The days whose rows have changed since they were computed, newest first.

        :raises StoreError: not now
        """
        ...

    async def roll_up_touched(self, day: date) -> bool:
        """Compute a touched day; False when another replica is at it, or its rows were archived and its row stays.

        :raises StoreError: not now
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
            await self.turn()
            await asyncio.sleep(self._interval)

    async def turn(self) -> None:
        """Roll up every touched day, then show the newest one. What fails keeps its mark, and holds up no other day."""
        try:
            for day in await self._history.touched():
                await self._roll_up(day)
            newest = await self._history.newest()
        except StoreError as error:
            self._telemetry.rollup_failed(str(error))
            return
        if newest is not None:
            self._telemetry.newest_day(newest)

    async def _roll_up(self, day: date) -> None:
        try:
            if await self._history.roll_up_touched(day):
                self._telemetry.rolled_up([day])
        except Refused as error:
            self._telemetry.rollup_failed(f"{day}: {error}")
