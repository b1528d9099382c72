"""Tests replicas that freeze, join and leave: one that has lost a partition cannot write for it, and counts
are exact.
"""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.ingestion import (
    Outgoing,
    committed_offsets,
    counts,
    dialogues,
    environment_on,
    ids,
    log_lines,
    send,
    wait_for_records,
)
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.slow_copy import LONG_TEXT, make_slow, wait_for_copy, wait_for_silence
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PARTITIONS = 3
# The shortest session timeout that brokers allow by default: a dead member is noticed after six seconds.
QUICK_SESSION = {"RAGLEDGER_KAFKA__SESSION_TIMEOUT_MS": "6000", "RAGLEDGER_KAFKA__REBALANCE_TIMEOUT_MS": "15000"}
SHORT_LIMITS = {"RAGLEDGER_POSTGRES__LOCK_TIMEOUT_S": "2", "RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S": "4"}
NEVER_FULL = {"RAGLEDGER_BATCH__MAX_DELAY_MS": "600000"}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an environment with three partitions in each topic."""
    with environment_on(stack, migrated_template, partitions=PARTITIONS, **QUICK_SESSION, **SHORT_LIMITS) as made:
        yield made


def publish(
    environment: Environment, bootstrap_servers: str, count: int, seed: int, **changes: str
) -> dict[UUID, Outgoing]:
    """Publish dialogues evenly to the partitions."""
    made = dialogues(environment.topics["dialogue"], count, seed, **changes)
    spread = {event: record._replace(partition=n % PARTITIONS) for n, (event, record) in enumerate(made.items())}
    send(bootstrap_servers, spread.values())
    return spread


def assert_exact(environment: Environment, bootstrap_servers: str, wanted: dict[UUID, Outgoing]) -> None:
    """Assert that every record is one row, that the ledger counts nothing twice, and that Kafka's offsets equal it."""
    wait_for_records(environment, len(wanted))
    environment.assert_caught_up()
    assert counts(environment) == {"inserted": len(wanted), "duplicates": 0, "dead": 0}
    assert ids(environment) == wanted.keys()
    topic = environment.topics["dialogue"]
    eventually(
        lambda: sum(committed_offsets(bootstrap_servers, environment.group, topic, PARTITIONS)) == len(wanted),
        message="Kafka's offsets equal the ledger",
    )


def test_a_frozen_replica_that_continues_is_fenced(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """It holds a batch and is frozen longer than its session; another replica writes the records; continued, it
    writes nothing.
    """
    wanted = publish(environment, bootstrap_servers, 600, seed=1)
    topic, log = environment.topics["dialogue"], tmp_path / "frozen"
    with ServiceProcess(environment, log, **NEVER_FULL) as frozen:
        eventually(
            lambda: frozen.metric("rag_consumer_lag_records", topic=topic) > 0,
            message="the frozen replica holds a batch",
        )
        frozen.send(signal.SIGSTOP)
        with ServiceProcess(environment, tmp_path / "second") as second:
            wait_for_records(environment, len(wanted))
            owners = environment.query("SELECT DISTINCT owner FROM ingest_ledger WHERE topic = %s", topic)
            assert [row["owner"].rpartition(":")[2] for row in owners] == [str(second.running.pid)]
            frozen.send(signal.SIGCONT)
            eventually(lambda: log_lines(log, "fenced"), message="the write is fenced")
            frozen.wait_metric_above("rag_fenced_total", 0)
            frozen.wait_metric("rag_records_total", 0, outcome="inserted")
            assert second.stop() == 0
        # The fenced replica gets all partitions now, and works normally.
        eventually(lambda: frozen.get("/readyz")[0] == 200, message="the replica is ready again")
        wanted |= publish(environment, bootstrap_servers, 60, seed=2)
        eventually(
            lambda: frozen.metric("rag_consumer_lag_records", topic=topic) == 60, message="the replica continues"
        )
        assert frozen.stop() == 0
    assert_exact(environment, bootstrap_servers, wanted)


def test_a_replica_frozen_during_a_write_does_not_block_its_successor(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """No time limit of PostgreSQL ends a COPY with a silent client: the successor ends it, and writes."""
    wanted = publish(environment, bootstrap_servers, 600, seed=3, response=LONG_TEXT)
    make_slow(environment)
    with ServiceProcess(environment, tmp_path / "frozen") as frozen:
        wait_for_copy(environment)
        frozen.send(signal.SIGSTOP)
        wait_for_silence(environment)
        with ServiceProcess(environment, tmp_path / "second") as second:
            wait_for_records(environment, len(wanted), timeout=40)
            frozen.send(signal.SIGCONT)
            wanted |= publish(environment, bootstrap_servers, 60, seed=4)
            assert_exact(environment, bootstrap_servers, wanted)
            eventually(
                lambda: frozen.get("/readyz")[0] == second.get("/readyz")[0] == 200, message="both replicas are ready"
            )
            assert second.stop() == 0
            frozen.stop()  # within its limit, even the hard one: its client library may still wait for a dead session


def test_replicas_that_join_and_leave_under_load_duplicate_and_lose_nothing(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Joins, orderly stops, a kill and a short freeze in a row: the counts are exact."""
    wanted = publish(environment, bootstrap_servers, 3000, seed=5)
    accounted = 0

    def more(seed: int) -> None:
        """Publish more, and wait for progress."""
        nonlocal accounted, wanted
        wanted |= publish(environment, bootstrap_servers, 200, seed)
        eventually(lambda: environment.accounted_for() > accounted, message="more records are written")
        accounted = environment.accounted_for()

    with ExitStack() as replicas:

        def join(name: str) -> ServiceProcess:
            made = ServiceProcess(environment, tmp_path / name, RAGLEDGER_BATCH__MAX_ROWS="50")
            replicas.enter_context(made)
            eventually(lambda: made.get("/healthz")[0] == 200, message=f"{name} runs")
            return made

        first = join("first")
        more(6)
        second, third = join("second"), join("third")
        second.wait_ready()
        more(7)
        assert first.stop() == 0
        more(8)
        fourth = join("fourth")
        second.kill()
        more(9)
        third.send(signal.SIGSTOP)
        fifth = join("fifth")
        third.send(signal.SIGCONT)
        more(10)
        assert fourth.stop() == 0
        assert_exact(environment, bootstrap_servers, wanted)
        assert [third.stop(), fifth.stop()] == [0, 0]
