"""Tests the jobs on dead letters and the migrations with SIGKILL at one step after the other: a repetition is exact."""

from collections.abc import Iterator

import pytest

from tests.integration.test_cmd_replay import keep_dead_letters, replayed
from tests.support.ingestion import ids
from tests.support.notices import run_killed
from tests.support.psql import VERSIONS, server_dsn
from tests.support.service import Environment
from tests.support.stack import Servers, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MOST_STEPS = 400


def killed_at_every_step(environment: Environment, *command: str, stride: int = 1) -> int:
    """Kill a command at one step after the other until it ends by itself. Return how often it was killed."""
    for number, step in enumerate(range(1, MOST_STEPS, stride)):
        if run_killed(environment, step, *command) == 0:
            return number
    pytest.fail(f"{command} has more than {MOST_STEPS} steps")


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database without Kafka, which these jobs do not need."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {"dialogue": "rag.dialogue"})


def test_a_replay_that_is_killed_at_every_step(environment: Environment) -> None:
    """Every row is stored, and every dead letter is marked."""
    wanted = keep_dead_letters(environment, 40, seed=11)
    assert killed_at_every_step(environment, "dead-letters", "replay") > 5
    assert ids(environment) == set(wanted)
    assert replayed(environment) == len(wanted)


def test_a_discard_that_is_killed_at_every_step(environment: Environment) -> None:
    """Every dead letter is discarded once, and none is stored."""
    count = len(keep_dead_letters(environment, 40, seed=12))
    assert killed_at_every_step(environment, "dead-letters", "discard", "--all") > 2
    assert environment.value("SELECT count(*) FROM dead_letters WHERE discarded_at IS NOT NULL") == count
    assert ids(environment) == set()


@pytest.fixture(params=VERSIONS)
def blank_environment(request: pytest.FixtureRequest) -> Iterator[Environment]:
    """Return an empty database on either version."""
    with fresh_database(server_dsn(request)) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {})


def test_migrations_that_are_killed_step_by_step(blank_environment: Environment) -> None:
    """Up, down and up again: each run continues. Of the tables, only the application's own one is left in between."""
    assert killed_at_every_step(blank_environment, "migrate", "up", stride=3) > 5
    assert blank_environment.run("migrate", "verify").returncode == 0
    assert killed_at_every_step(blank_environment, "migrate", "down", "--to", "0", stride=3) > 5
    left = "SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = 'public'"
    assert blank_environment.value(left) == "ai_dialogue_log"
    assert blank_environment.run("migrate", "up").returncode == 0
    assert blank_environment.run("migrate", "verify").returncode == 0
