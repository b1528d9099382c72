"""A TCP proxy on the loopback interface with network faults: cut, reset, held (half-open), slow."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from enum import Enum

import psutil

from consumer.devstack.server import free_ports
from tests.faults.loop import LoopThread

CHUNK = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close() sends a RST


class Direction(Enum):
    """The two directions of a connection."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


BOTH = frozenset(Direction)


class Tap:
    """Sees every byte of one connection; it may delay bytes, but not change them. This one lets all pass."""

    async def pieces(self, _direction: Direction, data: bytes) -> AsyncIterator[bytes]:
        """Yield the bytes to send, in pieces."""
        yield data


class Link:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, tap: Tap) -> None:
        self.client, self.server, self.tap = client, _NOT_CONNECTED, tap
        self.client_port: int = client.get_extra_info("peername")[1]
        self.held: frozenset[Direction] = frozenset()

    def abort(self) -> None:
        """Send both ends a RST."""
        for end in (self.client, self.server):
            if end is not None:
                with suppress(OSError):
                    end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.transport.abort()


_NOT_CONNECTED: asyncio.StreamWriter | None = None


class Proxy:
    """Forwards connections to a port of the loopback interface. Every method may be called from any thread."""

    def __init__(
        self, thread: LoopThread, upstream_port: int, make_tap: Callable[[Callable[[], None]], Tap] = lambda _: Tap()
    ) -> None:
        """Set up the proxy. `make_tap` makes the tap of a new connection; its argument aborts that connection."""
        self.port = free_ports(1)[0]
        self._thread, self._upstream_port, self._make_tap = thread, upstream_port, make_tap
        self._server: asyncio.Server | None = None
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: frozenset[Direction] = frozenset()
        self._held_of: dict[int, frozenset[Direction]] = {}
        self._bytes_per_second = 0.0
        self._changed = asyncio.Event()

    # ── network faults ───────────────────────────────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Listen."""
        self._thread.run(self._open())

    def close(self) -> None:
        """Stop listening, and end every connection."""
        self._thread.run(self._close())

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        self.close()

    def reset(self) -> None:
        """Reset every connection; accept new ones."""
        self._thread.call(self._abort_all)

    def hold(self, directions: Collection[Direction] = BOTH, *, pid: int | None = None) -> None:
        """Keep connections and accept new ones, but let nothing pass in these directions. With `pid`, only for the
        connections of that process.
        """
        self._thread.call(lambda: self._hold(frozenset(directions), pid))

    def hold_present(self) -> None:
        """Stop existing connections in both directions; new ones are not affected."""
        self._thread.call(self._hold_present)

    def slow(self, bytes_per_second: float) -> None:
        """Limit each connection to so many bytes a second in each direction."""
        self._thread.call(lambda: self._slow(bytes_per_second))

    def heal(self) -> None:
        """End the fault: send held bytes, and accept new connections."""
        self._thread.run(self._heal())

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._abort_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _abort_all(self) -> None:
        for link in list(self._links):
            link.abort()

    def _hold(self, directions: frozenset[Direction], pid: int | None) -> None:
        if pid is None:
            self._held = directions
            return
        self._held_of[pid] = directions
        ports = _ports_of(pid)
        for link in self._links:
            if link.client_port in ports:
                link.held = directions

    def _hold_present(self) -> None:
        for link in self._links:
            link.held = BOTH

    def _slow(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second

    async def _heal(self) -> None:
        self._held, self._bytes_per_second = frozenset(), 0.0
        self._held_of.clear()
        for link in self._links:
            link.held = frozenset()
        self._changed.set()
        self._changed = asyncio.Event()
        if self._server is None:
            await self._open()

    # ── connections ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        link = Link(writer, self._make_tap(lambda: link.abort()))
        link.held = self._held_for(link.client_port)
        self._links.add(link)
        self._tasks.add(task)
        try:
            with suppress(
                OSError, asyncio.CancelledError
            ):  # the connection ends in both cases; asyncio would log the latter
                await self._pass(link, reader)
        finally:
            link.abort()
            self._links.discard(link)
            self._tasks.discard(task)

    def _held_for(self, client_port: int) -> frozenset[Direction]:
        for pid, directions in self._held_of.items():
            if client_port in _ports_of(pid):
                return directions
        return frozenset()

    async def _pass(self, link: Link, reader: asyncio.StreamReader) -> None:
        await self._wait_while_held(link, Direction.TO_SERVER)
        from_server, link.server = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        pumps = [
            asyncio.ensure_future(self._pump(link, Direction.TO_SERVER, reader, link.server)),
            asyncio.ensure_future(self._pump(link, Direction.TO_CLIENT, from_server, link.client)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, link: Link, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(CHUNK):
            async for piece in link.tap.pieces(direction, data):
                await self._wait_while_held(link, direction)
                if self._bytes_per_second:
                    await asyncio.sleep(len(piece) / self._bytes_per_second)
                writer.write(piece)
                await writer.drain()
        await self._wait_while_held(link, direction)  # the end of the connection is held too

    async def _wait_while_held(self, link: Link, direction: Direction) -> None:
        while direction in self._held or direction in link.held:
            await self._changed.wait()


def _ports_of(pid: int) -> set[int]:
    try:
        return {connection.laddr.port for connection in psutil.Process(pid).net_connections("tcp4")}
    except psutil.Error:
        return set()
