"""The servers of the fault suite, and its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.faults import docs
from tests.faults.lab import Lab, open_lab
from tests.faults.results import DIRECTORY, Results
from tests.faults.scene import Scene, set_scene
from tests.support.stack import uses_docker

Stage = Callable[..., AbstractContextManager[Scene]]
_RESULTS = pytest.StashKey[Results]()


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """One broker and PostgreSQL behind proxies; a test ends its faults itself."""
    if uses_docker():
        pytest.skip("only embedded servers can be killed")
    with open_lab() as made:
        yield made


@pytest.fixture(scope="module")
def cluster() -> Iterator[Lab]:
    """Three brokers with three replicas of everything, and PostgreSQL."""
    with open_lab(brokers=3) as made:
        yield made


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of random choices."""
    return int(request.config.getoption("--faults-seed"))


@pytest.fixture
def long(request: pytest.FixtureRequest) -> float:
    """The requested share of the long run."""
    return float(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Iterator[Results]:
    """The results of the scenarios, stored in a file and shown at the end."""
    made = request.config.stash[_RESULTS] = Results()
    yield made
    made.write(DIRECTORY)
    if request.config.getoption("--write-docs"):
        docs.write()


@pytest.fixture
def stage(tmp_path: Path, seed: int, results: Results) -> Stage:
    """Return a function that begins a scenario: `stage(title, lab, **options)`."""

    def set_up(title: str, lab: Lab, **options: Any) -> AbstractContextManager[Scene]:
        return results.noted(title, seed, set_scene(lab, tmp_path, seed, **options))

    return set_up


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the results at the end of the run."""
    if results := config.stash.get(_RESULTS, None):
        terminalreporter.section("faults: seconds in all, until written again, until caught up; lost, stored twice, …")
        for line in results.lines():
            terminalreporter.write_line(line)
