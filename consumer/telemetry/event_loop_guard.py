"""A thread that watches the event loop, because a blocked loop cannot report itself."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger("ragledger")

TICK_SECONDS = 0.5
DUMP_SECONDS = 2.0  # writing to standard error may block too


class LoopGuard:
    """Ends the process if the loop has run nothing for `limit` seconds.

    The thread counts the seconds by its own ticks, so none pass while the whole process is frozen.
    """

    def __init__(self, limit: float, exit_code: int, end: Callable[[int], None] = os._exit) -> None:
        self._limit, self._exit_code, self._end = limit, exit_code, end
        self._missed = 0
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start to watch the running loop."""
        self._beat(asyncio.get_running_loop())
        threading.Thread(target=self._watch, name="loop guard", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def end_within(self, seconds: float) -> None:
        """End the process after so many seconds, even if a task hangs."""
        ending = threading.Timer(seconds, self._end, [self._exit_code])
        ending.daemon = True
        ending.start()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._missed = 0
        if not self._stopped.is_set():
            loop.call_later(TICK_SECONDS, self._beat, loop)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            time.sleep(TICK_SECONDS)
            self._missed += 1
            if self._missed * TICK_SECONDS > self._limit:
                self._give_up()
                return

    def _give_up(self) -> None:
        self.end_within(DUMP_SECONDS)
        log.error(
            "loop_blocked",
            seconds=self._limit,
            then="the process ends with the stacks of its threads; nothing is lost, its successor continues",
        )
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        self._end(self._exit_code)
