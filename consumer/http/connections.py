"""Limits the connections to the HTTP server. aiohttp accepts any number of them and waits for requests without a limit.

Otherwise, idle connections could use all descriptors of the process. The database and Kafka need descriptors too, and
/healthz would not answer.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from aiohttp import web

MOST = 128
IDLE_SECONDS = 5.0
"""Limit for the first and the last byte of a request's headers, and for the time between two requests."""


def most_connections() -> int:
    """Return how many connections are kept: at most a quarter of the descriptors."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if allowed == resource.RLIM_INFINITY else max(1, min(MOST, allowed // 4))


class Connections:
    """Makes the protocol of each new connection, and closes the oldest idle one if there are too many.

    A connection is idle while the server is not answering a request of it, even if it has sent part of the headers.
    """

    def __init__(self, server: web.Server, most: int) -> None:
        self._server, self._most = server, most
        self._open: dict[Any, None] = {}  # oldest first

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol for a connection that was just accepted."""
        for protocol in [one for one in self._open if _is_over(one)]:
            del self._open[protocol]
        if len(self._open) >= self._most:
            self._close_one()
        protocol = self._server()
        self._open[protocol] = None
        self._watch(protocol)
        return protocol

    def _close_one(self) -> None:
        connected = [protocol for protocol in self._open if protocol.transport is not None]
        if connected:
            self._close(next(filter(_is_idle, connected), connected[0]))

    def _watch(self, protocol: Any) -> None:
        asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_if_idle, protocol)

    def _end_if_idle(self, protocol: Any) -> None:
        if protocol not in self._open or _is_over(protocol):
            return
        if _is_idle(protocol) and protocol.transport is not None:
            self._close(protocol)
        else:
            self._watch(protocol)

    def _close(self, protocol: Any) -> None:
        del self._open[protocol]
        protocol.transport.abort()


def _is_over(protocol: Any) -> bool:
    return protocol._manager is None


def _is_idle(protocol: Any) -> bool:
    return not protocol._request_in_progress
