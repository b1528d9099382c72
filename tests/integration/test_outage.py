"""Tests outages of PostgreSQL: the service waits, logs them once, and nothing is lost, duplicated or a dead letter."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from consumer.devstack import PostgresServer
from tests.support.frozen import frozen
from tests.support.ingestion import environment_on, log_lines, wait_for_records
from tests.support.load import Load, assert_alive_but_not_ready, said, wait_for_retries
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.slow_copy import LONG_TEXT, make_slow, wait_for_copy
from tests.support.stack import Servers

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="kills embedded servers"),
]

SHORT_LIMITS = {
    "RAGLEDGER_POSTGRES__CONNECT_TIMEOUT_S": "1",
    "RAGLEDGER_POSTGRES__LOCK_TIMEOUT_S": "0.5",
    "RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S": "2",
}
LARGE_BATCHES = {"RAGLEDGER_BATCH__MAX_ROWS": "400", "RAGLEDGER_BATCH__MAX_DELAY_MS": "5000"}
RESTARTS = 2
NOTICED_S = 16.0  # one check every 5 s, and 10 s for the answer
GIVEN_UP_S = 20.0  # the statement timeout of these tests, 5 s of grace, and a failed connection
SMALL_BATCHES = {"RAGLEDGER_BATCH__MAX_ROWS": "20", "RAGLEDGER_BATCH__MAX_DELAY_MS": "50"}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return small batches and short limits, so that an outage meets many transactions."""
    with environment_on(stack, migrated_template, partitions=2, **SMALL_BATCHES, **SHORT_LIMITS) as made:
        yield made


def test_a_kill_of_postgresql_under_load(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """SIGKILL during writes, a pause, a start: the service continues, with one log line for the beginning and the
    end.
    """
    load, log = Load(environment), tmp_path / "log"
    load.publish(1500)
    with ServiceProcess(environment, log) as service:
        wait_for_records(environment, 300)
        postgres_server.kill()
        try:
            load.publish(300)
            wait_for_retries(service, 4, cause="connection")
            assert_alive_but_not_ready(service)
            service.wait_page("/metrics", 200)
        finally:
            postgres_server.restart()
        load.publish(200)
        load.assert_exact(service)
        service.wait_ready()
        assert service.stop() == 0
    assert_one_outage_logged(log)


@pytest.mark.slow
def test_a_restart_of_postgresql_during_large_copies(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """The connection ends while the client waits to send more: this is noticed, and the batch is written again."""
    load = Load(environment)
    make_slow(environment)
    with ServiceProcess(environment, tmp_path / "log", **LARGE_BATCHES) as service:
        for _ in range(RESTARTS):
            load.publish(400, response=LONG_TEXT)
            wait_for_copy(environment)
            postgres_server.restart()
        load.assert_exact(service)
        assert service.stop() == 0


def test_an_outage_without_records_is_reported_too(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """Nothing is written, but the service is not ready and logs it once; then it continues normally."""
    load, log = Load(environment), tmp_path / "log"
    with ServiceProcess(environment, log) as service:
        service.wait_ready()
        postgres_server.kill()
        try:
            eventually(lambda: said(log, "database_unavailable"), timeout=20, message="the outage is logged")
            assert_alive_but_not_ready(service)
        finally:
            postgres_server.restart()
        eventually(lambda: service.get("/readyz")[0] == 200, timeout=20)
        load.publish(100)
        load.assert_exact(service)
        eventually(lambda: said(log, "database_available"), timeout=20, message="the end of the outage is logged")
        assert service.stop() == 0
    assert_one_outage_logged(log)


def test_a_primary_that_became_a_standby_is_left(environment: Environment, tmp_path: Path) -> None:
    """The old primary still answers but accepts no writes: its sessions are closed, and new ones are opened."""
    load, log = Load(environment), tmp_path / "log"
    load.publish(100)
    database = urlsplit(environment.dsn).path.removeprefix("/")
    with ServiceProcess(environment, log) as service:
        wait_for_records(environment, 100)
        service.wait_ready()
        with psycopg.connect(environment.dsn, autocommit=True) as other:
            other.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode())
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            load.publish(100)
            wait_for_retries(service, 3, cause="read_only")
            # For new sessions only, as behind a name that now leads to another server.
            other.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only".encode())
        load.assert_exact(service)
        service.wait_ready()
        assert service.stop() == 0


def assert_one_outage_logged(log: Path) -> None:
    """Assert one log line at the beginning and one at the end; a line about days only for another problem."""
    assert len(log_lines(log, "database_unavailable")) == 1
    assert len(log_lines(log, "database_available")) == 1
    problems = [line["problem"] for line in log_lines(log, "rollup_failed")]
    assert all(one != following for one, following in pairwise(problems))


@contextmanager
def locked(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[None]:
    """Lock a table."""
    with connection.transaction():
        connection.execute("LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def renamed(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[None]:
    """Rename a table."""
    connection.execute("ALTER TABLE ai_dialogue_log RENAME TO elsewhere")
    yield
    connection.execute("ALTER TABLE elsewhere RENAME TO ai_dialogue_log")


@contextmanager
def read_only(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[None]:
    """Make the database read-only, as a standby after a failover to the wrong server."""
    database = connection.info.dbname
    connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode())
    disconnect_others(connection)
    yield
    connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only".encode())
    disconnect_others(connection)


@contextmanager
def closed_by_a_login_trigger(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[None]:
    """Let no session of the service in, as with the example of a login trigger in PostgreSQL's manual."""
    connection.execute(
        "CREATE FUNCTION closed() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF current_setting('application_name') LIKE 'ragledger%' THEN RAISE 'closed until four'; END IF; END $$"
    )
    connection.execute("CREATE EVENT TRIGGER closed ON login EXECUTE FUNCTION closed()")
    disconnect_others(connection)
    yield
    connection.execute("DROP EVENT TRIGGER closed")


def disconnect_others(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """End every other session of this database."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [
        (locked, "lock"),
        (renamed, "schema"),
        (read_only, "read_only"),
        (closed_by_a_login_trigger, "connection"),
    ],
)
def test_a_problem_of_the_server_makes_no_dead_letter(
    environment: Environment, tmp_path: Path, trouble: Callable[..., AbstractContextManager[None]], cause: str
) -> None:
    """A lock, a missing table, a read-only server, a trigger that refuses logins: the batch waits until it is over."""
    load = Load(environment)
    load.publish(400)
    with (
        psycopg.connect(environment.dsn, autocommit=True) as connection,
        ServiceProcess(environment, tmp_path / "log") as service,
    ):
        wait_for_records(environment, 40)
        with trouble(connection):
            load.publish(200)
            wait_for_retries(service, 3, cause=cause)
            service.wait_page("/healthz", 200)
        load.assert_exact(service)


@pytest.mark.slow
def test_memory_is_bounded_and_nothing_is_fetched_in_an_outage(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """A topic gets many times as many records as the replica may hold; memory is bounded, and later all are read."""
    load = Load(environment)
    held = {"RAGLEDGER_BATCH__MAX_ROWS": "100", "RAGLEDGER_KAFKA__FETCH_MAX_BYTES": "1048576"}
    with ServiceProcess(environment, tmp_path / "log", **held) as service:
        load.publish(200)
        wait_for_records(environment, 200)
        postgres_server.kill()
        try:
            load.publish(1000, response=LONG_TEXT)
            wait_for_retries(service, 5, cause="connection")
            before, network = resident(service), received(service)
            for _ in range(5):
                load.publish(1000, response=LONG_TEXT)
            wait_for_retries(service, 5, cause="connection")
            assert resident(service) < before + 20e6
            assert received(service) < network + 5e6, "fetching continues"
        finally:
            postgres_server.restart()
        load.assert_exact(service)
        assert service.stop() == 0


def resident(service: ServiceProcess) -> int:
    """Return the resident memory of the process in bytes."""
    return int(psutil.Process(service.running.pid).memory_info().rss)


def received(service: ServiceProcess) -> int:
    """Return the bytes that the process has read so far, mostly from the network."""
    return int(psutil.Process(service.running.pid).io_counters().read_chars)


@pytest.mark.slow
def test_a_frozen_postgresql_is_noticed_in_time(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """A query notices it independently of writes; a write ends after its own limit and a grace period."""
    load, log = Load(environment), tmp_path / "log"
    load.publish(1500)
    with ServiceProcess(environment, log, RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S="600") as service:
        wait_for_records(environment, 300)
        with frozen(postgres_server.pid):
            load.publish(300)
            moment = time.monotonic()
            eventually(
                lambda: service.metric("rag_up", server="database") == 0,
                timeout=NOTICED_S,
                message="the outage is noticed",
            )
            assert_alive_but_not_ready(service)
            print(f"noticed after {time.monotonic() - moment:.1f} s")
        load.assert_exact(service)
        eventually(lambda: service.metric("rag_up", server="database") == 1, message="the outage is over")
        assert service.stop() == 0
    assert len(log_lines(log, "database_unavailable")) == len(log_lines(log, "database_available")) == 1


@pytest.mark.slow
def test_a_write_to_a_frozen_postgresql_ends(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """It ends after the statement timeout and 5 s, even if the server ignores a cancellation. Then it is retried."""
    load = Load(environment)
    make_slow(environment)
    with ServiceProcess(environment, tmp_path / "log", **LARGE_BATCHES) as service:
        load.publish(400, response=LONG_TEXT)
        wait_for_copy(environment)
        with frozen(postgres_server.pid):
            wait_for_retries(service, 1, cause="connection", timeout=GIVEN_UP_S)
            wait_for_retries(service, 1, cause="connection", timeout=GIVEN_UP_S)
            assert_alive_but_not_ready(service)
        load.assert_exact(service)
        assert service.stop() == 0
