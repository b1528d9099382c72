"""Settings of all unit tests: repeatable property tests, and an event loop that never sleeps."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import pytest
from hypothesis import Phase, settings

from tests.support.virtual_time import VirtualTimeLoop

# Explaining a failure traces every line, which takes minutes before Python 3.12; the example itself is sufficient.
PHASES = (Phase.explicit, Phase.generate, Phase.shrink)
settings.register_profile(
    "unit",
    derandomize=True,
    deadline=None,
    max_examples=40,
    database=None,
    phases=PHASES,
    report_multiple_bugs=False,
    stateful_step_count=30,
)
settings.load_profile("unit")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Run every coroutine test in this directory in virtual time."""
    return {"virtual": VirtualTimeLoop}
