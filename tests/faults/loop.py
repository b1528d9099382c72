"""An event loop in a thread of its own for the proxies, so that tests are plain functions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
CALL_SECONDS = 30.0


class LoopThread:
    """A context manager; every call to the loop goes through it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end.

        Raises:
            TimeoutError: it took longer than `CALL_SECONDS`.
        """
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(CALL_SECONDS)

    def call(self, function: Callable[[], T]) -> T:
        """Call a plain function on the loop."""

        async def work() -> T:
            return function()

        return self.run(work())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CALL_SECONDS)
        self.loop.close()
