"""Settings of all unit tests: repeatable property tests, and an event loop that never sleeps."""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Mapping

import pytest
import structlog
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


@pytest.fixture(autouse=True)
def _logging_is_restored() -> Iterator[None]:
    """Restore the configuration of logs, which a command sets for its process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
