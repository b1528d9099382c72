"""A thread for slow work. Meanwhile the event loop runs, and heartbeats are sent.

A thread, not a process: Python lets the event loop run within 5 ms, except during single calls into C. Such a call, for
example parsing JSON, takes up to 50 ms per megabyte. There is one thread, because several would compete with the loop.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

T = TypeVar("T")

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")


async def aside(work: Callable[[], T]) -> T:
    """See :class:`consumer.ingest.ports.Aside`."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, partial(_without_collecting, work))


def _without_collecting(work: Callable[[], T]) -> T:
    """Run without garbage collection. The work makes no reference cycles, and a collection over millions of lists takes
    seconds.
    """
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()
