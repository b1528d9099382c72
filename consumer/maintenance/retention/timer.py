"""The service's own runs of retention."""

from __future__ import annotations

from typing import Protocol

from consumer.errors import OperationError
from consumer.ingest.ports import SourceError, StoreError
from consumer.maintenance.retention.run import Done, Retention


class RetentionTelemetry(Protocol):
    """What is told of retention."""

    def retention_stepped(self, rows: int, notices: int) -> None:
        """So many more rows are archived, and notices published, whatever becomes of the rest of the run."""
        ...

    def retention_done(self, rows: int, notices: int) -> None:
        """A run of this replica has ended: rows it archived, notices it published."""
        ...

    def retention_failed(self, problem: str) -> None:
        """It could not be done now; tried again."""
        ...


class RetentionJob:
    """Runs retention, on one replica at a time."""

    def __init__(self, retention: Retention, telemetry: RetentionTelemetry) -> None:
        self._retention, self._telemetry = retention, telemetry

    async def run_once(self) -> None:
        """One run. What its steps have done is counted even if a later step fails."""
        rows = notices = 0

        def count(total: Done) -> None:
            nonlocal rows, notices
            in_topic = total.published + total.found
            self._telemetry.retention_stepped(total.archived - rows, in_topic - notices)
            rows, notices = total.archived, in_topic

        try:
            done = await self._retention.run(wait=False, told=count)
        except (OperationError, SourceError, StoreError) as error:
            self._telemetry.retention_failed(str(error))
        else:
            self._telemetry.retention_done(done.archived, done.published)
