"""The HTTP server: metrics for Prometheus, health for the orchestrator, a page for people."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from consumer.errors import OperationError
from consumer.http.connections import IDLE_SECONDS, Connections, most_connections
from consumer.settings.model import Http
from consumer.settings.sources import variable
from consumer.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from consumer.http.page.server import Response as Page

SHUTDOWN_SECONDS = 2.0  # for clients that do not read their responses
# Responses must not be cached, framed by another page, or interpreted as another type.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Health(NamedTuple):
    """The result of the checks, by name: empty if a check holds, otherwise what is wrong."""

    checks: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return not any(self.checks.values())


class HttpServer:
    """Answers requests while the service runs, and also while it waits for the servers at its start."""

    def __init__(
        self,
        settings: Http,
        metrics: Metrics,
        alive: Callable[[], Health],
        ready: Callable[[], Awaitable[Health]],
        page: Callable[[], Awaitable[Page]],
    ) -> None:
        self._settings, self._metrics = settings, metrics
        self._alive, self._ready, self._page = alive, ready, page
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    async def start(self) -> tuple[str, int]:
        """Listen. Return the bound address.

        :raises OperationError: the address is in use, or is none of this machine
        """
        app = web.Application()
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/metrics", self._get_metrics)
        app.router.add_get("/healthz", self._get_alive)
        app.router.add_get("/readyz", self._get_ready)
        app.router.add_get("/", self._get_page)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, keepalive_timeout=IDLE_SECONDS
        )
        await self._runner.setup()
        assert self._runner.server is not None
        connections = Connections(self._runner.server, most_connections())
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(connections, self._settings.host, self._settings.port)
        except (OSError, UnicodeError) as error:  # UnicodeError: a label of the host's name is too long
            problem = getattr(error, "strerror", None) or "this is no name of a host"
            names = f"{variable('http', 'host')} and {variable('http', 'port')}"
            raise OperationError(f"the HTTP server cannot listen where {names} say: {problem}") from error
        host, port = self._listener.sockets[0].getsockname()[:2]
        return host, port

    async def stop(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _get_metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _get_alive(self, _request: web.Request) -> web.Response:
        return _respond(self._alive())

    async def _get_ready(self, _request: web.Request) -> web.Response:
        return _respond(await self._ready())

    async def _get_page(self, _request: web.Request) -> web.Response:
        page = await self._page()
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": page.policy}
        return web.Response(body=page.body, status=page.status, headers=headers)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def _respond(health: Health) -> web.Response:
    checks = {name: problem or "ok" for name, problem in health.checks.items()}
    return web.json_response({"ok": health.ok, "checks": checks}, status=200 if health.ok else 503)
