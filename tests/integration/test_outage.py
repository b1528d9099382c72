"""Outages of PostgreSQL: waited out, said once, and nothing lost, doubled or made a dead letter."""

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
    pytest.mark.skipif(os.environ.get("RAGLEDGER_TEST_STACK") == "docker", reason="this kills embedded servers"),
]

SHORT_LIMITS = {
    "RAGLEDGER_POSTGRES__CONNECT_TIMEOUT_S": "1",
    "RAGLEDGER_POSTGRES__LOCK_TIMEOUT_S": "0.5",
    "RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S": "2",
}
LARGE_BATCHES = {"RAGLEDGER_BATCH__MAX_ROWS": "400", "RAGLEDGER_BATCH__MAX_DELAY_MS": "5000"}
RESTARTS = 2
NOTICED_S = 16.0  # a look every 5 s, and 10 s to answer
GIVEN_UP_S = 20.0  # the statement timeout of these tests, a grace of 5 s, and then a connection that is not made
SMALL_BATCHES = {"RAGLEDGER_BATCH__MAX_ROWS": "20", "RAGLEDGER_BATCH__MAX_DELAY_MS": "50"}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Small batches and short limits, so that an outage meets many transactions."""
    with environment_on(stack, migrated_template, partitions=2, **SMALL_BATCHES, **SHORT_LIMITS) as made:
        yield made


def test_postgresql_killed_under_load_is_waited_out(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """SIGKILL in the middle of writing, a while away, back: resumed by itself, one line in the log for each end."""
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
    assert_one_outage_told(log)


@pytest.mark.slow
def test_postgresql_restarted_in_the_middle_of_large_copies_is_waited_out(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """Each time the connection ends while the client waits to be allowed to send more: noticed, and written again."""
    load = Load(environment)
    make_slow(environment)
    with ServiceProcess(environment, tmp_path / "log", **LARGE_BATCHES) as service:
        for _ in range(RESTARTS):
            load.publish(400, response=LONG_TEXT)
            wait_for_copy(environment)
            postgres_server.restart()
        load.assert_exact(service)
        assert service.stop() == 0


def test_an_outage_while_nothing_is_read_is_said_too(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """Nobody writes, but the service is not ready and says so once; then it goes on as if nothing had been."""
    load, log = Load(environment), tmp_path / "log"
    with ServiceProcess(environment, log) as service:
        service.wait_ready()
        postgres_server.kill()
        try:
            eventually(lambda: said(log, "database_unavailable"), timeout=20, message="a word about it")
            assert_alive_but_not_ready(service)
        finally:
            postgres_server.restart()
        eventually(lambda: service.get("/readyz")[0] == 200, timeout=20)
        load.publish(100)
        load.assert_exact(service)
        eventually(lambda: said(log, "database_available"), timeout=20, message="a word about its end")
        assert service.stop() == 0
    assert_one_outage_told(log)


def test_a_primary_that_became_a_standby_is_left_for_the_new_one(environment: Environment, tmp_path: Path) -> None:
    """The old one goes on answering and takes no writes: sessions with it are given up, and new ones are made."""
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
            # What holds now for new sessions only, as behind a name that leads to another server now.
            other.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only".encode())
        load.assert_exact(service)
        service.wait_ready()
        assert service.stop() == 0


def assert_one_outage_told(log: Path) -> None:
    """Once where it begins and once where it ends, not once a try; of the days only what is another problem."""
    assert len(log_lines(log, "database_unavailable")) == 1
    assert len(log_lines(log, "database_available")) == 1
    problems = [line["problem"] for line in log_lines(log, "rollup_failed")]
    assert all(one != following for one, following in pairwise(problems))


@contextmanager
def locked(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[None]:
    """A table that nobody else can use."""
    with connection.transaction():
        connection.execute("LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def renamed(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[None]:
    """A table that is not there."""
    connection.execute("ALTER TABLE ai_dialogue_log RENAME TO elsewhere")
    yield
    connection.execute("ALTER TABLE elsewhere RENAME TO ai_dialogue_log")


@contextmanager
def read_only(connection: "psycopg.Connection[tuple[object, ...]]") -> Iterator[None]:
    """A database that takes no writes, as a standby does after a failover to the wrong one."""
    database = connection.info.dbname
    connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on".encode())
    disconnect_others(connection)
    yield
    connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only".encode())
    disconnect_others(connection)


def disconnect_others(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """End every other session of this database."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize(("trouble", "cause"), [(locked, "lock"), (renamed, "schema"), (read_only, "read_only")])
def test_what_is_no_fault_of_the_records_makes_no_dead_letter(
    environment: Environment, tmp_path: Path, trouble: Callable[..., AbstractContextManager[None]], cause: str
) -> None:
    """A lock, a missing table, a read-only server: the batch waits for as long as it takes."""
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
def test_memory_is_flat_and_nothing_is_fetched_while_the_database_is_away(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """A topic fills up with many times what the reader may hold; it holds no more, and afterwards reads all of it."""
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
            assert received(service) < network + 5e6, "fetching goes on"
        finally:
            postgres_server.restart()
        load.assert_exact(service)
        assert service.stop() == 0


def resident(service: ServiceProcess) -> int:
    """Bytes of memory of the process."""
    return int(psutil.Process(service.running.pid).memory_info().rss)


def received(service: ServiceProcess) -> int:
    """Bytes that the process has read so far, from the network above all."""
    return int(psutil.Process(service.running.pid).io_counters().read_chars)


@pytest.mark.slow
def test_a_frozen_postgresql_is_noticed_and_given_up_in_time(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """Noticed by a question, whatever a write may take; a write is given up after its own limit and a grace."""
    load, log = Load(environment), tmp_path / "log"
    load.publish(1500)
    with ServiceProcess(environment, log, RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S="600") as service:
        wait_for_records(environment, 300)
        with frozen(postgres_server.pid):
            load.publish(300)
            moment = time.monotonic()
            eventually(lambda: service.metric("rag_up", server="database") == 0, timeout=NOTICED_S, message="noticed")
            assert_alive_but_not_ready(service)
            print(f"noticed after {time.monotonic() - moment:.1f} s")
        load.assert_exact(service)
        eventually(lambda: service.metric("rag_up", server="database") == 1, message="over")
        assert service.stop() == 0
    assert len(log_lines(log, "database_unavailable")) == len(log_lines(log, "database_available")) == 1


@pytest.mark.slow
def test_a_write_that_meets_a_frozen_postgresql_is_given_up(
    postgres_server: PostgresServer, environment: Environment, tmp_path: Path
) -> None:
    """After the statement timeout and 5 s; the server need not take a cancellation. Then it is tried again."""
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
