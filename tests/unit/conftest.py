"""For all unit tests: repeatable property tests, and an event loop that never sleeps."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import pytest
from hypothesis import settings

from tests.unit.virtual_time import VirtualTimeLoop

settings.register_profile("unit", derandomize=True, deadline=None, max_examples=60, database=None)
settings.load_profile("unit")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Every coroutine test under this directory runs on virtual time."""
    return {"virtual": VirtualTimeLoop}
