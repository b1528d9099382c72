"""The periodic job that reads a changed price file, and settles the costs that its prices change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from consumer.events.costs import PriceBook, Pricing, Recomputed
from consumer.events.price_file import PriceFileError
from consumer.ingest.ports import Clock, StoreError

SETTLES_SECONDS = 1.0
"""A file that has changed is read again after this: whoever writes it may not be done."""
_REST = 3.0
"""Between two steps, as a multiple of the time that a step took: the roll-up uses the same lock."""


class Costs(Protocol):
    """The costs that were converted or computed."""

    async def adopt(self, book: PriceBook) -> None:
        """Put prices in force.

        :raises StoreError: not now
        """
        ...

    async def recompute(self) -> Recomputed | None:
        """Settle some costs that were settled with other prices; nothing settled where all are settled with these.

        :returns: None if other prices than ours are in force, or another process is at the days
        :raises StoreError: not now
        """
        ...


class CostTelemetry(Protocol):
    """What is told of prices and costs."""

    def prices_read(self, version: str, *, is_new: bool) -> None:
        """The price file is right; these prices are in use, from now on if they are new."""
        ...

    def prices_refused(self, problem: str) -> None:
        """The price file is wrong now; the prices that were read before stay in use."""
        ...

    def costs_recomputed(self, done: Recomputed) -> None:
        """A step is committed."""
        ...

    def costs_failed(self, problem: str) -> None:
        """It could not be done now; tried again."""
        ...


class CostJob:
    """Reads the price file and settles costs.

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
        """Adopt the prices of the file, then settle costs, step by step, until none is left."""
        try:
            await self._read_file()
        except PriceFileError as error:
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
