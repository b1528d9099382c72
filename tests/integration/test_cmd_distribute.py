"""Tests `ragledger distribute` on one server without Citus. The tests of a cluster are in tests/distributed."""

from collections.abc import Iterator

import pytest

from tests.support.service import Environment
from tests.support.stack import Servers, fresh_database

MISSING = "this server has no Citus: install it on every node, or connect to the coordinator of a cluster"


@pytest.fixture
def offline(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a migrated database without Kafka."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {})


def test_plan_says_what_is_missing(offline: Environment) -> None:
    """The exit code is that of a check that does not hold."""
    done = offline.run("distribute", "plan")
    assert (done.returncode, MISSING in " ".join(done.stdout.split())) == (3, True)
    assert offline.run_json("distribute", "plan")["obstacles"] == [MISSING]


@pytest.mark.parametrize("options", [(), ("--key", "user_id"), ("--shards", "8")])
def test_apply_changes_nothing(offline: Environment, options: tuple[str, ...]) -> None:
    """It names the same reason, and the table is as it was."""
    done = offline.run("distribute", "apply", *options)
    assert (done.returncode, MISSING in " ".join(done.stderr.split())) == (1, True)
    assert offline.run("migrate", "verify").returncode == 0


@pytest.mark.parametrize("options", [("--key", "session_id"), ("--shards", "0"), ("--shards", "many")])
def test_wrong_options_are_wrong_use(offline: Environment, options: tuple[str, ...]) -> None:
    """Nothing is connected to."""
    assert offline.run("distribute", "plan", *options).returncode == 2
