"""Tests the watchdog: a process without progress ends with its stacks and exit code 4; a waiting process does not."""

import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.ingestion import Outgoing, counts, dialogues, environment_on, ids, log_lines, send, wait_for_records
from tests.support.load import wait_for_retries
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.slow_copy import make_slow
from tests.support.stack import Servers
from tests.support.stuck import StuckService

pytestmark = pytest.mark.timeout(120)

STALLED = 4
STALL_S = 3.0
QUICK = {
    "RAGLEDGER_WATCHDOG__STALL_S": str(STALL_S),
    "RAGLEDGER_WATCHDOG__BLOCKED_S": "2",
    "RAGLEDGER_KAFKA__REBALANCE_TIMEOUT_MS": "3000",
    "RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S": "30",
}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an environment with a watchdog that reacts quickly."""
    with environment_on(stack, migrated_template, partitions=2, **QUICK) as made:
        yield made


def evenly(records: Iterable[Outgoing]) -> list[Outgoing]:
    """Publish to both partitions."""
    return [record._replace(partition=n % 2) for n, record in enumerate(records)]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("fetcher", "although records wait"),
        ("partition", "although records wait"),
        ("group", "the group has assigned nothing"),
    ],
)
@pytest.mark.slow
def test_a_client_that_stops_in_silence_ends_the_process(
    environment: Environment, bootstrap_servers: str, tmp_path: Path, fault: str, problem: str
) -> None:
    """The log has the reason and the stacks, the exit code is 4; the next process continues without loss or
    duplicates.
    """
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    wanted = dialogues(topic, 40, seed=1, response="geheim")
    send(bootstrap_servers, evenly(wanted.values()))
    with StuckService(fault, environment, log) as service:
        wait_for_records(environment, 40)
        service.cause_fault()
        service.wait_page("/healthz", 200)
        more = dialogues(topic, 40, seed=2, response="geheim")
        send(bootstrap_servers, evenly(more.values()))
        assert service.running.wait(60) == STALLED
    (stalled,) = log_lines(log, "stalled")
    assert problem in stalled["problem"]
    assert any("reading: " in task and "pipeline.py" in task for task in stalled["tasks"])
    assert "geheim" not in log.read_text()
    with ServiceProcess(environment, tmp_path / "next") as service:
        wait_for_records(environment, 80)
        assert service.stop() == 0
    assert ids(environment) == wanted.keys() | more.keys()
    assert counts(environment) == {"inserted": 80, "duplicates": 0, "dead": 0}


def test_a_blocked_loop_ends_the_process(environment: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """A thread ends it, with the stacks of all threads, because nothing inside the loop could."""
    log = tmp_path / "log"
    send(bootstrap_servers, dialogues(environment.topics["dialogue"], 20, seed=3, response="geheim").values())
    with StuckService("loop", environment, log) as service:
        wait_for_records(environment, 20)
        service.cause_fault()
        assert service.running.wait(30) == STALLED
    assert log_lines(log, "loop_blocked")
    assert "stuck.py" in log.read_text(), "the stack shows the blocking call"
    assert "geheim" not in log.read_text()


@pytest.mark.slow
def test_a_frozen_process_is_not_reported_as_blocked(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """It is stopped for longer than either limit, and continued: neither the thread nor the watchdog counts that
    time.
    """
    topic = environment.topics["dialogue"]
    with ServiceProcess(environment, tmp_path / "log") as service:
        service.wait_ready()
        service.send(signal.SIGSTOP)
        send(bootstrap_servers, dialogues(topic, 30, seed=4).values())
        with psycopg.connect(environment.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_sleep(%s)", [STALL_S * 2])
        service.send(signal.SIGCONT)
        wait_for_records(environment, 30)
        assert service.stop() == 0


@pytest.mark.slow
def test_a_slow_database_does_not_trigger_the_watchdog(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """One statement takes longer than the limit, and reading waits for it."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    make_slow(environment)
    rows = int(STALL_S * 3 * 1000)
    send(bootstrap_servers, dialogues(topic, rows, seed=5).values())
    with ServiceProcess(environment, log, RAGLEDGER_BATCH__MAX_ROWS=str(rows // 2)) as service:
        wait_for_records(environment, rows)
        service.wait_metric_above("rag_batch_write_seconds_sum", STALL_S)
        assert service.stop() == 0
    assert log_lines(log, "stalled") == []


@pytest.mark.slow
def test_a_lock_and_a_stopped_partition_do_not_trigger_the_watchdog(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """A new process could not fix either."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    limits = {"RAGLEDGER_POSTGRES__LOCK_TIMEOUT_S": "1", "RAGLEDGER_BATCH__MAX_ROWS": "10"}
    with ServiceProcess(environment, tmp_path / "before") as service:
        eventually(
            lambda: environment.value("SELECT count(*) FROM ingest_ledger") == 4, message="the partitions are claimed"
        )
        assert service.stop() == 0
    with psycopg.connect(environment.dsn) as connection:
        connection.execute(
            "UPDATE ingest_ledger SET start_offset = 9999, next_offset = 9999 WHERE topic = %s AND partition = 1",
            [topic],
        )
        connection.commit()
        send(bootstrap_servers, dialogues(topic, 500, seed=6).values())
        with ServiceProcess(environment, log, **limits) as service:
            eventually(lambda: service.metric("rag_stopped_partitions") == 1, message="the partition has stopped")
            connection.execute("LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE")
            send(bootstrap_servers, dialogues(topic, 500, seed=7).values())
            wait_for_retries(service, 5, cause="lock")
            service.wait_page("/healthz", 200)
            connection.rollback()
            eventually(lambda: service.metric("rag_write_retries_total", cause="lock") > 0)
            assert service.running.poll() is None
            assert service.stop() == 0
    assert log_lines(log, "stalled") == []


@pytest.mark.slow
def test_a_process_that_is_always_fenced_ends(environment: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """Another process has claimed the partition each time it writes; the next process writes."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    limits = {
        "RAGLEDGER_KAFKA__SESSION_TIMEOUT_MS": "6000",  # after this time a fenced partition is claimed again
        "RAGLEDGER_KAFKA__REBALANCE_TIMEOUT_MS": "15000",
        "RAGLEDGER_WATCHDOG__STALL_S": "8",
    }
    with (
        ServiceProcess(environment, log, **limits) as service,
        psycopg.connect(environment.dsn, autocommit=True) as other,
    ):
        service.wait_ready()

        def has_ended() -> bool:
            other.execute("UPDATE ingest_ledger SET epoch = epoch + 1, owner = 'x' WHERE owner <> 'x'")
            return service.running.poll() is not None

        has_ended()
        send(bootstrap_servers, evenly(dialogues(topic, 40, seed=8).values()))
        eventually(has_ended, message="the watchdog has ended the process")
        assert service.running.wait(30) == STALLED
    (stalled,) = log_lines(log, "stalled")
    assert "another replica had claimed their partitions, and none was committed" in stalled["problem"]
    with ServiceProcess(environment, tmp_path / "next") as service:
        wait_for_records(environment, 40)
        assert service.stop() == 0
    assert counts(environment) == {"inserted": 40, "duplicates": 0, "dead": 0}
