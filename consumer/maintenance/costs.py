"""The periodic job that reads the price file, and recomputes costs when its prices have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from consumer.errors import YamlFileError
from consumer.events.costs import PriceBook, Pricing, Recomputed
from consumer.ingest.ports import Clock, StoreError

SETTLES_SECONDS = 1.0
"""Seconds after which a changed file is read again, because its author may still be writing it."""
_REST = 3.0
"""The pause between two steps, as a multiple of the duration of a step: the roll-up uses the same lock."""


class Costs(Protocol):
    """The stored costs that depend on prices."""

    async def adopt(self, book: PriceBook) -> None:
        """Put the prices of a book in force.

        :raises StoreError: the database is unavailable
        """
        ...

    async def recompute(self) -> Recomputed | None:
        """Recompute some costs that were settled with other prices. If there are none, `settled` is 0.

        :returns: None if other prices than ours are in force, or if another process holds the lock of the roll-up
        :raises StoreError: the database is unavailable
        """
        ...


class CostTelemetry(Protocol):
    """Reports on prices and costs."""

    def prices_read(self, version: str, *, is_new: bool) -> None:
        """Report that the price file is valid, and whether its prices are new; they are in use now."""
        ...

    def prices_refused(self, problem: str) -> None:
        """Report why the price file is wrong; the earlier prices stay in use."""
        ...

    def costs_recomputed(self, done: Recomputed) -> None:
        """Report a committed step."""
        ...

    def costs_failed(self, problem: str) -> None:
        """Report why a run failed; it is retried."""
        ...


class CostJob:
    """Reads the price file and recomputes costs.

    :param read: reads the price file
    """

    def __init__(
        self,
        costs: Costs,
        pricing: Pricing,
        read: Callable[[], PriceBook],
        telemetry: CostTelemetry,
        clock: Clock,
    ) -> None:
        self._costs, self._pricing, self._read, self._telemetry = costs, pricing, read, telemetry
        self._clock = clock
        self._adopted = ""

    async def run_once(self) -> None:
        """Adopt the prices of the file, then recompute costs in steps until none has other prices."""
        try:
            await self._read_file()
        except YamlFileError as error:
            self._telemetry.prices_refused(str(error))
        except StoreError as error:
            self._telemetry.costs_failed(str(error))
            return
        try:
            await self._recompute()
        except StoreError as error:
            self._telemetry.costs_failed(str(error))

    async def _read_file(self) -> None:
        book = await asyncio.to_thread(self._read)
        is_new = book.version != self._adopted
        if is_new:
            await asyncio.sleep(SETTLES_SECONDS)
            if (await asyncio.to_thread(self._read)).version != book.version:
                return
            await self._costs.adopt(book)
            self._pricing.book, self._adopted = book, book.version
        self._telemetry.prices_read(book.version, is_new=is_new)

    async def _recompute(self) -> None:
        while self._adopted:
            began = self._clock.monotonic()
            done = await self._costs.recompute()
            if not done or not done.settled:
                return
            self._telemetry.costs_recomputed(done)
            await asyncio.sleep(_REST * (self._clock.monotonic() - began))
