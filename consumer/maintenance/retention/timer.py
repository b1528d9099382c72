"""The timer that runs retention in the service."""

from __future__ import annotations

from typing import Protocol

from consumer.errors import OperationError
from consumer.ingest.ports import SourceError, StoreError
from consumer.maintenance.retention.run import Done, Retention


class RetentionTelemetry(Protocol):
    """Reports on the runs of retention."""

    def retention_stepped(self, rows: int, notices: int) -> None:
        """Report the rows archived and notices published since the last call. They stay done if the run fails later."""
        ...

    def retention_done(self, rows: int, notices: int) -> None:
        """Report the end of a run of this replica: rows archived, notices published."""
        ...

    def retention_failed(self, problem: str) -> None:
        """Report why a run failed; it is retried."""
        ...


class RetentionJob:
    """Runs retention, on one replica at a time."""

    def __init__(self, retention: Retention, telemetry: RetentionTelemetry) -> None:
        self._retention, self._telemetry = retention, telemetry

    async def run_once(self) -> None:
        """Run once. The results of finished steps are counted even if a later step fails."""
        rows = notices = 0

        def count(total: Done) -> None:
            nonlocal rows, notices
            in_topic = total.published + total.found
            self._telemetry.retention_stepped(total.archived - rows, in_topic - notices)
            rows, notices = total.archived, in_topic

        try:
            done = await self._retention.run(wait=False, on_progress=count)
        except (OperationError, SourceError, StoreError) as error:
            self._telemetry.retention_failed(str(error))
        else:
            self._telemetry.retention_done(done.archived, done.published)
