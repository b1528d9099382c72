"""A PostgreSQL that sleeps: it drops idle connections, and takes seconds to wake."""

import asyncio
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from consumer.devstack.server import free_ports

LOOK_S = 0.02


class Serverless:
    """A proxy in front of a server. `wakes` counts how often it was woken."""

    def __init__(self, server: str, *, sleep_after_s: float, wake_s: float) -> None:
        self.port, self._target = free_ports(1)[0], urlsplit(server).port
        self._sleep_after_s, self._wake_s = sleep_after_s, wake_s
        self._last, self._awake = time.monotonic(), asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.wakes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def dsn(self, direct: str) -> str:
        """Return the DSN of the same database through the proxy."""
        parts = urlsplit(direct)
        return parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.port}").geturl()

    @property
    def is_asleep(self) -> bool:
        """Return whether the next connection has to wait."""
        return not self._awake.is_set()

    async def _start(self) -> None:
        self._awake.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._watch = asyncio.create_task(self._fall_asleep())

    async def _stop(self) -> None:
        self._watch.cancel()
        self._server.close()
        self._drop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _drop(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _fall_asleep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._awake.is_set() and time.monotonic() - self._last > self._sleep_after_s:
                self._awake.clear()
                self._drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            await self._wake()
            behind, before = await asyncio.open_connection("127.0.0.1", self._target)
            self._open |= {writer, before}
            await asyncio.gather(self._pump(reader, before), self._pump(behind, writer))

    async def _wake(self) -> None:
        if not self._awake.is_set():
            await asyncio.sleep(self._wake_s)
        self._last = time.monotonic()
        self.wakes += not self._awake.is_set()
        self._awake.set()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self._last = time.monotonic()
            writer.write(data)
            await writer.drain()
        writer.close()
