"""A thread for work that takes long, so that the event loop turns and the group hears of us meanwhile.

A thread and not a process: Python gives the loop its turn within 5 ms, but for single calls in C, such as parsing JSON,
which take about 30 ms for each megabyte of a record. One thread, because several would compete with the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_THREAD = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")


async def aside(work: Callable[[], T]) -> T:
    """See :class:`consumer.ports.Aside`."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)
