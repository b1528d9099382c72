"""The periodic job that folds traces into dialogues."""

from __future__ import annotations

from typing import Protocol

from consumer.ingest.ports import Clock, StoreError
from consumer.ingest.traces import FoldedTraces

LONGEST_PAUSE = 1.0
TURN_SECONDS = 5.0
DROP_SECONDS = 60.0


class Traces(Protocol):
    """The staged spans, and the dialogues they become."""

    async def fold_some(self) -> FoldedTraces | None:
        """Fold due traces in one transaction. Return None if another replica is folding.

        :raises StoreError: PostgreSQL cannot do it now
        """
        ...

    async def drop_some(self) -> bool:
        """Drop spans that are older than the retention time. Return whether there may be more.

        :raises StoreError: PostgreSQL cannot do it now
        """
        ...

    async def waiting(self) -> int:
        """Return the number of traces with spans that are not folded yet.

        :raises StoreError: PostgreSQL cannot do it now
        """
        ...


class FoldTelemetry(Protocol):
    """Receives reports about the folding of traces."""

    def folded(self, folded: FoldedTraces) -> None:
        """Traces were folded."""
        ...

    def fold_succeeded(self, waiting: int) -> None:
        """All due traces were folded; `waiting` traces are not due yet."""
        ...

    def fold_failed(self, problem: str) -> None:
        """Traces cannot be folded now. Due traces stay due."""
        ...


class FoldJob:
    """Folds the traces that are due, on one replica at a time.

    :param quiet: seconds after which a trace without a root is due
    """

    def __init__(self, traces: Traces, telemetry: FoldTelemetry, clock: Clock, quiet: float) -> None:
        self._traces, self._telemetry, self._clock = traces, telemetry, clock
        self.pause = min(LONGEST_PAUSE, max(quiet / 4, 0.1))
        self._dropped_at = float("-inf")

    async def run_once(self) -> bool:
        """Fold the traces that are due, then drop old spans; False if the time was too short for all of it."""
        ends = self._clock.monotonic() + TURN_SECONDS
        try:
            while (folded := await self._traces.fold_some()) is not None:
                self._telemetry.folded(folded)
                if folded.is_last:
                    self._telemetry.fold_succeeded(await self._traces.waiting())
                    break
                if self._clock.monotonic() >= ends:
                    return False
            await self._drop_old(ends)
        except StoreError as error:
            self._telemetry.fold_failed(str(error))
        return True

    async def _drop_old(self, ends: float) -> None:
        if self._clock.monotonic() < self._dropped_at + DROP_SECONDS:
            return
        while await self._traces.drop_some():
            if self._clock.monotonic() >= ends:
                return
        self._dropped_at = self._clock.monotonic()
