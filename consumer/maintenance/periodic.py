"""The one timer of the service's periodic jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """Runs at once, and then `interval` seconds after each run has ended. A restart loses nothing: what is due is in
    the database.

    :param name: of the task
    :param run_once: one run. It reports its own failures. False if it has more to do: then it runs again at once
    """

    name: str
    interval: float
    run_once: Callable[[], Awaitable[bool | None]]

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            if await self.run_once() is not False:
                await asyncio.sleep(self.interval)
