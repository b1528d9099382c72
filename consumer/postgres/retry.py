"""Retrying, as data. The only importer of tenacity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


def while_raises(*errors: type[Exception], report: Callable[[Any], None]) -> AsyncRetrying:
    """Retry after each of `errors`, without a limit, with growing, jittered pauses.

    :param report: called with each error before the pause
    """

    def before_sleep(state: RetryCallState) -> None:
        assert state.outcome is not None
        report(state.outcome.exception())

    return AsyncRetrying(
        retry=retry_if_exception_type(errors),
        wait=wait_random_exponential(multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS),
        before_sleep=before_sleep,
        reraise=True,
    )
