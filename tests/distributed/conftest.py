"""Schemas on a Citus cluster."""

from collections.abc import Iterator

import pytest

from tests.support.citus import migrated_schema


@pytest.fixture
def migrated() -> Iterator[str]:
    """Return the DSN of a migrated schema whose table is not distributed yet."""
    with migrated_schema() as dsn:
        yield dsn
