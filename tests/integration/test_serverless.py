"""Tests a PostgreSQL that drops idle connections, or sleeps and takes seconds to wake: no outage, no dead letter."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.ingestion import (
    counts,
    dialogues,
    environment_on,
    ids,
    log_lines,
    on_other_database,
    send,
    wait_for_records,
)
from tests.support.psql import execute, value
from tests.support.serverless import Serverless
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WAKE_S = 5.0
# The service must let it sleep: no days are computed without writes.
SELDOM = {"RAGLEDGER_ROLLUP__INTERVAL_S": "3600", "RAGLEDGER_BATCH__MAX_DELAY_MS": "50"}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database, connected directly."""
    with environment_on(stack, migrated_template) as made:
        made.variables |= SELDOM
        yield made


def publish(environment: Environment, count: int, seed: int) -> set[object]:
    """Publish dialogues. Return their ids."""
    made = dialogues(environment.topics["dialogue"], count, seed)
    send(environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], made.values())
    return set(made)


def assert_exact(environment: Environment, wanted: set[object]) -> None:
    """Assert that every record is one row."""
    assert counts(environment) == {"inserted": len(wanted), "duplicates": 0, "dead": 0}
    assert ids(environment) == wanted


def assert_nothing_said(log: Path) -> None:
    """Assert that the log reports no problem with the database."""
    assert log_lines(log, "database_unavailable") == log_lines(log, "rollup_failed") == []


def test_a_sleeping_database_is_woken(environment: Environment, stack: Servers, tmp_path: Path) -> None:
    """It takes five seconds to wake, several times: each record waits, and nothing is logged or retried."""
    log, wanted = tmp_path / "log", publish(environment, 20, seed=1)
    with Serverless(stack.dsn, sleep_after_s=1.0, wake_s=WAKE_S) as compute:
        through = on_other_database(environment, compute.dsn(environment.dsn))
        with ServiceProcess(through, log) as service:
            wait_for_records(environment, 20)
            for seed in (2, 3):
                eventually(lambda: compute.is_asleep, message="the database sleeps")
                wanted |= publish(environment, 20, seed)
                wait_for_records(environment, len(wanted))
            assert compute.wakes >= 2
            service.wait_metric("rag_write_retries_total", 0)
            assert service.stop() == 0
        eventually(lambda: compute.is_asleep, message="the database sleeps")
        assert through.run("ledger", "--check", "--caught-up").returncode == 0
        eventually(lambda: compute.is_asleep, message="the database sleeps")
        assert through.run("migrate", "status").returncode == 0
    assert_exact(environment, wanted)
    assert_nothing_said(log)


def test_a_database_that_wakes_too_slowly(environment: Environment, stack: Servers, tmp_path: Path) -> None:
    """A connection that takes too long is retried: an outage like any other, without a lost record."""
    log, wanted = tmp_path / "log", publish(environment, 20, seed=4)
    with Serverless(stack.dsn, sleep_after_s=1.0, wake_s=WAKE_S) as compute:
        through = on_other_database(environment, compute.dsn(environment.dsn))
        with ServiceProcess(through, log, RAGLEDGER_POSTGRES__CONNECT_TIMEOUT_S="2") as service:
            wait_for_records(environment, 20)
            eventually(lambda: compute.is_asleep, message="the database sleeps")
            wanted |= publish(environment, 20, seed=5)
            wait_for_records(environment, len(wanted))
            eventually(lambda: service.metric("rag_up", server="database") == 1, message="the outage is over")
            assert service.stop() == 0
    assert_exact(environment, wanted)
    outages = [len(log_lines(log, event)) for event in ("database_unavailable", "database_available")]
    assert outages[0] == outages[1] >= 1


def test_idle_sessions_that_postgresql_ends(environment: Environment, tmp_path: Path) -> None:
    """Its own limit ends idle sessions before the next record; the service logs nothing."""
    name = urlsplit(environment.dsn).path.removeprefix("/")
    execute(environment.dsn, f"ALTER DATABASE {name} SET idle_session_timeout = '200ms'")
    log, wanted = tmp_path / "log", publish(environment, 20, seed=6)
    ours = "FROM pg_stat_activity WHERE application_name = 'ragledger' AND datname = current_database()"
    with ServiceProcess(environment, log) as service:
        wait_for_records(environment, 20)
        for seed in (7, 8, 9):
            eventually(
                lambda: value(environment.dsn, f"SELECT count(*) {ours}") == 0, message="all sessions have ended"
            )
            wanted |= publish(environment, 20, seed)
            wait_for_records(environment, len(wanted))
        service.wait_metric("rag_write_retries_total", 0)
        assert service.stop() == 0
    assert_exact(environment, wanted)
    assert_nothing_said(log)


def test_idle_sessions_that_are_ended_at_any_time(environment: Environment, tmp_path: Path) -> None:
    """An administrator ends idle sessions repeatedly under load: no outage, no dead letter, exact counts."""
    log, wanted = tmp_path / "log", publish(environment, 100, seed=10)
    end = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'ragledger' AND datname = current_database() AND state = 'idle'"
    )
    ended = 0
    with ServiceProcess(environment, log, RAGLEDGER_ROLLUP__INTERVAL_S="0.2") as service:
        wait_for_records(environment, 100)
        for seed in range(11, 41):
            wanted |= publish(environment, 10, seed)
            ended += value(environment.dsn, end)
        wait_for_records(environment, len(wanted))
        assert ended > 3
        assert service.stop() == 0
    assert_exact(environment, wanted)
    assert_nothing_said(log)
