"""Caches the page for a short time, so that frequent reloads do not load the database."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from consumer.http.page.document import CONTENT_SECURITY_POLICY, render
from consumer.http.page.snapshot import Snapshot
from consumer.ingest.ports import Clock

KEEP_SECONDS = 2.0


class Snapshots(Protocol):
    """Takes snapshots."""

    async def take(self) -> Snapshot:
        """Return a snapshot within a few seconds, even if the servers are unavailable."""
        ...


class Response(NamedTuple):
    """An HTTP status, a page, and the policy for what the page may load."""

    status: int
    body: bytes
    policy: str = CONTENT_SECURITY_POLICY


class PageServer:
    """Serves a page that is at most :data:`KEEP_SECONDS` old. Concurrent requests share one snapshot."""

    def __init__(self, snapshots: Snapshots, clock: Clock) -> None:
        self._snapshots, self._clock = snapshots, clock
        self._kept: tuple[float, Response] | None = None
        self._rendering: asyncio.Task[Response] | None = None

    async def get(self) -> Response:
        """Return the page with status 200, or 503 if the database is unavailable."""
        if self._kept is not None and self._clock.monotonic() - self._kept[0] < KEEP_SECONDS:
            return self._kept[1]
        if self._rendering is None or self._rendering.done():
            self._rendering = asyncio.create_task(self._render())
        return await asyncio.shield(self._rendering)  # a client that disconnects must not cancel it for the others

    async def _render(self) -> Response:
        snapshot = await self._snapshots.take()
        response = Response(503 if snapshot.problem else 200, render(snapshot).encode())
        self._kept = self._clock.monotonic(), response
        return response
