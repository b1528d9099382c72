"""The one timer of the service's periodic jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """Runs a job at once, and again `interval` seconds after each run. A restart loses nothing, because the database
    stores what is due.

    :param name: name of the task
    :param run_once: does one run and reports its own failures; if it returns False, the next run begins at once
    """

    name: str
    interval: float
    run_once: Callable[[], Awaitable[bool | None]]

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            if await self.run_once() is not False:
                await asyncio.sleep(self.interval)
