"""A thread for work that takes long, so that the event loop turns and the group hears of us meanwhile.

A thread and not a process: Python gives the loop its turn within 5 ms, but for single calls in C, such as parsing JSON,
which take up to 50 ms for each megabyte of a record. One thread, because several would compete with the loop.
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
    """Nothing of it goes in cycles, and looking for some in millions of lists would hold up the loop for seconds."""
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()
