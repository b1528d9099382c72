"""How many hostile records to make, and from which seed."""

from __future__ import annotations

import pytest


@pytest.fixture
def fuzz_records(request: pytest.FixtureRequest) -> int:
    """Records in all."""
    return int(request.config.getoption("--fuzz-records"))


@pytest.fixture
def fuzz_seed(request: pytest.FixtureRequest) -> int:
    """Where chance begins."""
    return int(request.config.getoption("--fuzz-seed"))
