"""The timer that runs retention in the service."""

from __future__ import annotations

from typing import Protocol

from consumer.errors import OperationError
from consumer.ingest.ports import SourceError, StoreError
from consumer.maintenance.retention.run import Done, Retention
from consumer.postgres.admin import DatabaseError


class RetentionTelemetry(Protocol):
    """Reports on the runs of retention."""

    def retention_stepped(self, rows: int, notices: int, dialogues: int, settled: int, unsettled: int) -> None:
        """Report what was done since the last call; it stays done if the run fails later.

        :param rows: rows of provenance archived
        :param notices: notices published
        :param dialogues: dialogues removed
        :param settled: settled dead letters removed
        :param unsettled: open dead letters removed
        """
        ...

    def retention_done(self, rows: int, notices: int, dialogues: int, settled: int, unsettled: int) -> None:
        """Report the end of a run of this replica, with the same counts for the whole run."""
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
        before = Done()

        def count(total: Done) -> None:
            nonlocal before
            now, then = _counts(total), _counts(before)
            before = total
            self._telemetry.retention_stepped(*(new - old for new, old in zip(now, then, strict=True)))

        try:
            done = await self._retention.run(wait=False, on_progress=count)
        except (DatabaseError, OperationError, SourceError, StoreError) as error:
            self._telemetry.retention_failed(str(error))
            return
        if done.problems:
            self._telemetry.retention_failed("; ".join(done.problems))
        else:
            rows, _, *removed = _counts(done)
            self._telemetry.retention_done(rows, done.published, *removed)


def _counts(total: Done) -> tuple[int, int, int, int, int]:
    settled = total.dead_letters - total.open_dead_letters
    in_topic = total.published + total.found
    return total.archived, in_topic, total.dialogues, settled, total.open_dead_letters
