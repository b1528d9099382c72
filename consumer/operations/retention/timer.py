"""The service's own runs of retention."""

from __future__ import annotations

import asyncio
from typing import Protocol

from consumer.operations.errors import OperationError
from consumer.operations.retention.run import Retention
from consumer.ports import SourceError, StoreError


class RetentionTelemetry(Protocol):
    """What is told of retention."""

    def retention_done(self, rows: int, notices: int) -> None:
        """A run of this replica has ended: rows it archived, notices it published."""
        ...

    def retention_failed(self, problem: str) -> None:
        """It could not be done now; tried again."""
        ...


class RetentionTimer:
    """Runs every `interval` seconds, one replica at a time; a restart loses nothing."""

    def __init__(self, retention: Retention, telemetry: RetentionTelemetry, interval: float) -> None:
        self._retention, self._telemetry, self._interval = retention, telemetry, interval

    async def run(self) -> None:
        """Run at once, then on the timer, for ever."""
        while True:
            await self.turn()
            await asyncio.sleep(self._interval)

    async def turn(self) -> None:
        """One run."""
        try:
            done = await self._retention.run(wait=False)
        except (OperationError, SourceError, StoreError) as error:
            self._telemetry.retention_failed(str(error))
        else:
            self._telemetry.retention_done(done.archived, done.published)
