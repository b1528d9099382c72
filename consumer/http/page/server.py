"""Keeps the page for a moment, so that reloading it a hundred times a second costs the database nothing."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from consumer.http.page.document import render
from consumer.http.page.snapshot import Snapshot
from consumer.ingest.ports import Clock

KEEP_SECONDS = 2.0


class Snapshots(Protocol):
    """Where the page's content comes from."""

    async def take(self) -> Snapshot:
        """A snapshot, soon, whatever fails."""
        ...


class Response(NamedTuple):
    """An HTTP status and a page."""

    status: int
    body: bytes


class PageServer:
    """The page as it was at most :data:`KEEP_SECONDS` ago; however many ask at once, one look is taken."""

    def __init__(self, look: Snapshots, clock: Clock) -> None:
        self._look, self._clock = look, clock
        self._kept: tuple[float, Response] | None = None
        self._looking: asyncio.Task[Response] | None = None

    async def get(self) -> Response:
        """The page, with 200, or with 503 while the database is away."""
        if self._kept is not None and self._clock.monotonic() - self._kept[0] < KEEP_SECONDS:
            return self._kept[1]
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._make())
        return await asyncio.shield(self._looking)  # one reader who goes away does not take the page from the others

    async def _make(self) -> Response:
        snapshot = await self._look.take()
        response = Response(503 if snapshot.problem else 200, render(snapshot).encode())
        self._kept = self._clock.monotonic(), response
        return response
