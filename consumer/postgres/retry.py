"""Retrying, as data. The only importer of tenacity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tenacity import AsyncRetrying, TryAgain, wait_random_exponential

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
_PAUSES = wait_random_exponential(multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS)

Result = TypeVar("Result")


async def retry_after(
    *errors: type[Exception], attempt: Callable[[], Awaitable[Result]], report: Callable[[Any], None]
) -> Result:
    """Call `attempt` until it raises none of `errors`, with growing, jittered pauses. There is no limit.

    Results and errors are not passed to tenacity. Its objects form reference cycles, which would keep a written batch
    in memory until the garbage collector runs.

    :param report: called with each error before the pause
    """
    async for again in AsyncRetrying(wait=_PAUSES):
        try:
            return await attempt()
        except errors as error:
            report(error)
        with again:
            raise TryAgain
    raise AssertionError("there is no limit")
