"""Writes sealed batches, two at a time. They commit in the order in which they were sealed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from consumer.ingest.batch import Batch
from consumer.ingest.ports import Clock, Fenced, Store, Telemetry, Written

WRITERS = 2
BATCHES_IN_FLIGHT = WRITERS + 1  # one more waits


class CommitTurn:
    """See :class:`consumer.ingest.ports.Turn`."""

    def __init__(self, before: CommitTurn | None) -> None:
        self._before: CommitTurn | None = before
        self._over = asyncio.Event()

    async def wait_turn(self) -> None:
        """See :meth:`consumer.ingest.ports.Turn.wait_turn`."""
        if self._before is not None:
            await self._before._over.wait()

    def over(self) -> None:
        """End this turn, so that the next one begins. Drop the earlier turn, or each turn would keep all earlier ones
        alive.
        """
        self._before = None
        self._over.set()


class Writer:
    """A queue with few slots. The reading task takes a slot for each batch, so it waits if the store is slow."""

    def __init__(
        self,
        store: Store,
        telemetry: Telemetry,
        clock: Clock,
        on_written: Callable[[Written], None],
        on_fenced: Callable[[Batch, Fenced], None],
    ) -> None:
        self._store, self._telemetry, self._clock = store, telemetry, clock
        self._on_written, self._on_fenced = on_written, on_fenced
        self._slots = asyncio.Semaphore(BATCHES_IN_FLIGHT)
        self._sealed: asyncio.Queue[tuple[Batch, CommitTurn]] = asyncio.Queue()
        self._last_turn = CommitTurn(None)
        self._last_turn.over()
        self._unfinished = 0

    @property
    def is_busy(self) -> bool:
        """Whether any batch waits or is being written."""
        return self._unfinished > 0

    async def slot(self) -> None:
        """Wait for a free slot and take it."""
        await self._slots.acquire()

    async def slot_within(self, seconds: float) -> bool:
        """Take a slot within so many seconds. Return whether that succeeded."""
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError:
            return False
        return True

    def free_slot(self) -> None:
        """Return an unused slot."""
        self._slots.release()

    def put(self, batch: Batch) -> None:
        """Queue a batch. The caller holds a slot for it."""
        self._last_turn = CommitTurn(self._last_turn)
        self._sealed.put_nowait((batch, self._last_turn))
        self._unfinished += 1

    async def idle(self) -> None:
        """Wait until every queued batch is written or thrown away."""
        await self._sealed.join()

    def workers(self) -> Sequence[Coroutine[Any, Any, None]]:
        """The coroutines that write the batches; each one needs a task of its own."""
        return [self._work() for _ in range(WRITERS)]

    async def _work(self) -> None:
        while True:
            await self._write_next()

    async def _write_next(self) -> None:
        """Write a batch. After this call, no variable keeps the batch while the next one is awaited."""
        batch, turn = await self._sealed.get()
        try:
            await self._write(batch, turn)
        finally:
            turn.over()
            self._slots.release()
            self._sealed.task_done()
            self._unfinished -= 1

    async def _write(self, batch: Batch, turn: CommitTurn) -> None:
        started = self._clock.monotonic()
        try:
            written = await self._store.write(batch, turn)
        except Fenced as fenced:
            self._telemetry.available()
            self._telemetry.fenced(fenced)
            self._on_fenced(batch, fenced)
        else:
            self._telemetry.written(written, self._clock.monotonic() - started)
            self._on_written(written)
