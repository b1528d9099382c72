"""The options of a fuzz run: the number of hostile records, the seed, and the outcomes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

FIGURES = Path(__file__).parents[2] / "faults" / "results" / "fuzz.json"


@pytest.fixture
def fuzz_records(request: pytest.FixtureRequest) -> int:
    """Return the number of records in total."""
    return int(request.config.getoption("--fuzz-records"))


@pytest.fixture(scope="session")
def fuzz_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed of random choices."""
    return int(request.config.getoption("--fuzz-seed"))


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest, fuzz_seed: int) -> Iterator[Counter[str]]:
    """Return the outcomes of a run, to be counted. With `--write-docs`, a successful run stores them for the page on
    reliability.
    """
    found: Counter[str] = Counter()
    yield found
    if request.config.getoption("--write-docs") and not request.session.testsfailed:
        taken_at = datetime.now(UTC).isoformat(timespec="seconds")
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps({"taken_at": taken_at, "seed": fuzz_seed, "verdicts": found}, indent=1) + "\n")
