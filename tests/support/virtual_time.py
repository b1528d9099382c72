"""An event loop that never sleeps: when all tasks wait for a timer, the clock jumps to it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(RuntimeError):
    """All tasks wait, and no timer is set."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop with a virtual clock, so that tests with delays are exact, repeatable and quick."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.now


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise Deadlock("every task waits, and no timer is set")
        self._loop.now += max(0.0, timeout)
        return ready


async def time_passes(seconds: float) -> None:
    """Let virtual time pass."""
    await asyncio.sleep(seconds)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a loop of its own, for tests that are not coroutines."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
