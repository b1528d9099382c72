"""Tests PostgreSQL killed, restarted, full or read-only: the service waits, and makes no dead letter."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.faults.conftest import Stage
from tests.faults.lab import Lab
from tests.faults.scene import Scene
from tests.support.service import eventually

pytestmark = pytest.mark.timeout(300)

OUTAGE_RECORDS = 1200  # as many as arrive in an outage of four seconds
SHORT_LIMITS = {"postgres__statement_timeout_s": "3", "postgres__connect_timeout_s": "3"}


def let_outage_last(scene: Scene) -> None:
    """Let an outage last, and check that all replicas report it and are alive."""
    wanted = scene.traffic.count + OUTAGE_RECORDS
    eventually(lambda: scene.traffic.count >= wanted, message="records arrive during the outage")
    for replica in scene.fleet.replicas:
        replica.wait_not_ready()
        replica.service.wait_page("/healthz", 200)


def test_killed_and_restarted(lab: Lab, stage: Stage) -> None:
    """SIGKILL of the server, a pause, recovery; then orderly restarts at random times."""
    with stage("PostgreSQL killed and restarted", lab) as scene:
        for _ in range(2):
            lab.postgres.kill()
            let_outage_last(scene)
            lab.postgres.start()
            scene.recover("PostgreSQL killed")
        for number in (signal.SIGINT, signal.SIGQUIT):
            scene.observer.wait_for_more(scene.chance.randint(1, 300))
            lab.postgres.stop(number)
            lab.postgres.start()
            scene.recover("PostgreSQL restarted")


@contextmanager
def no_connections_left(scene: Scene) -> Iterator[None]:
    """Use every connection that is not reserved, and end those of the replicas."""
    dsn = scene.environment.variables["RAGLEDGER_POSTGRES__DSN"]
    with ExitStack() as taken:
        while True:
            try:
                taken.enter_context(psycopg.connect(dsn))
            except psycopg.OperationalError:
                if not end_sessions(scene, "application_name = 'ragledger'"):
                    break
        yield


@contextmanager
def read_only(scene: Scene) -> Iterator[None]:
    """Make the database read-only, as after a failover to the wrong server."""
    database = sql.Identifier(urlsplit(scene.environment.dsn).path[1:])
    with psycopg.connect(scene.lab.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
        end_sessions(scene)
        yield
        connection.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
        end_sessions(scene)


@contextmanager
def frozen(scene: Scene) -> Iterator[None]:
    """Freeze the server: it accepts connections and answers nothing."""
    postgres = scene.lab.postgres
    pids = [postgres.pid, *(row["pid"] for row in scene.environment.query("SELECT pid FROM pg_stat_activity"))]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number is signal.SIGSTOP:
            yield


@pytest.mark.parametrize(
    ("trouble", "title"),
    [
        (no_connections_left, "PostgreSQL out of connections"),
        (read_only, "PostgreSQL refuses writes (read-only)"),
        (frozen, "PostgreSQL frozen"),
    ],
)
def test_unusable(lab: Lab, stage: Stage, trouble: Callable[[Scene], AbstractContextManager[None]], title: str) -> None:
    """The batches wait, fetching pauses, and afterwards everything continues by itself."""
    with stage(title, lab, **SHORT_LIMITS) as scene:
        with trouble(scene):
            let_outage_last(scene)
        scene.recover(title)


def end_sessions(scene: Scene, condition: str = "true") -> int:
    """End every other session of this database. Return their number."""
    found = scene.environment.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = current_database() AND pid <> pg_backend_pid() AND {condition}"
    )
    return len(found)
