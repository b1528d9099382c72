"""Tests records that take seconds to decode or to search: the loop runs, transactions are short, nothing is lost."""

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.integration.test_cmd_replay import DEAD_LETTER, start_replay
from tests.support.erasing import KEY
from tests.support.ingestion import (
    Outgoing,
    as_json,
    counts,
    environment_on,
    log_lines,
    send,
    small_dialogue,
    wait_for_records,
)
from tests.support.service import Environment, ServiceProcess
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SESSION_MS = (
    6_000  # the shortest session timeout that brokers allow by default: a longer block of the loop loses the partitions
)
MOST_SECONDS = SESSION_MS / 2000  # the longest allowed block of the loop: then a heartbeat still comes in time
LARGE = {"compression.type": "zstd", "message.max.bytes": 100_000_000, "batch.num.messages": 1}
SETTINGS = {"RAGLEDGER_KAFKA__SESSION_TIMEOUT_MS": str(SESSION_MS), "RAGLEDGER_ERASURE__KEY": KEY}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return two partitions, and a group that soon removes a silent member."""
    with environment_on(stack, migrated_template, partitions=2, kinds=("dialogue",), **SETTINGS) as made:
        yield made


def exact_only(citations: str, seed: int) -> bytes:
    """Return a valid dialogue with this array of citations that only the exact lane accepts."""
    chance = random.Random(seed)
    event = as_json(small_dialogue(chance, id=str(UUID(int=chance.getrandbits(128))), latency_ms="5", citations="HERE"))
    return event.replace(b'"HERE"', citations.encode())


def flat(size: int) -> str:
    """Return citations of so many bytes."""
    one = '{"source":"a"}'
    return f"[{','.join([one] * (size // (len(one) + 1)))}]"


def deep(size: int) -> str:
    """Return citations of so many bytes with nested brackets."""
    one = '{"source":"a","x":' + "[" * 450 + "]" * 450 + "}"
    return f"[{','.join([one] * (size // (len(one) + 1)))}]"


@contextmanager
def longest_answer(service: ServiceProcess) -> Iterator[list[float]]:
    """Measure the longest answer time of /healthz during the context, which is how long the loop was blocked."""
    seconds, ended = [0.0], threading.Event()

    def ask() -> None:
        while not ended.is_set():
            began = time.monotonic()
            service.get("/healthz")
            seconds[0] = max(seconds[0], time.monotonic() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seconds
    finally:
        ended.set()
        asking.join()


@pytest.mark.parametrize("citations", [[flat(8_000_000)] * 3, [flat(1_000_000)] * 30, [deep(4_000_000)] * 2])
def test_two_replicas_write_expensive_records_without_losing_the_group(
    environment: Environment, bootstrap_servers: str, tmp_path: Path, citations: list[str]
) -> None:
    """Neither replica fences the other, however long decoding takes."""
    topic = environment.topics["dialogue"]
    with ExitStack() as running:
        logs = [tmp_path / name for name in ("one", "two")]
        services = [running.enter_context(ServiceProcess(environment, log)) for log in logs]
        for service in services:
            service.wait_ready()
        values = [exact_only(array, seed) for seed, array in enumerate(citations)]
        records = [Outgoing(topic, value, partition=n % 2) for n, value in enumerate(values)]
        with longest_answer(services[0]) as one, longest_answer(services[1]) as two:
            send(bootstrap_servers, records, **LARGE)
            wait_for_records(environment, len(values), timeout=120)
        assert max(*one, *two) < MOST_SECONDS
        assert sum(service.metric("rag_fenced_total") for service in services) == 0
        for service in services:
            assert service.stop() == 0
    assert counts(environment) == {"inserted": len(values), "duplicates": 0, "dead": 0}
    assert not [line for log in logs for line in log_lines(log, "overtaken")]


def test_broken_records_are_searched_before_the_transaction_begins(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """No transaction is idle for a second, and erased users are not stored."""
    erased = uuid4()
    environment.run("erase", "--user", str(erased), "--receipt", str(tmp_path))
    tokens = ("QUJD" * 250 + " ") * 7_500  # in each of them ids are searched behind base64
    values = [f'{{"user_id": "{user}", "x": "{tokens}'.encode() for user in (erased, uuid4(), erased)]
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    with ServiceProcess(environment, log) as service:
        service.wait_ready()
        send(
            bootstrap_servers,
            [Outgoing(topic, value, partition=0) for value in values],
            **LARGE,
        )
        longest = 0.0
        while environment.accounted_for() < len(values):
            longest = max(longest, idle_in_transaction(environment))
        assert service.stop() == 0
    assert longest < 1.0
    kept = environment.query("SELECT reason, value FROM dead_letters ORDER BY record_offset")
    assert [(row["reason"], row["value"] is None) for row in kept] == [
        ("erased_user", True),
        ("not_json", False),
        ("erased_user", True),
    ]
    assert log_lines(log, "database_unavailable") == []


def test_a_replay_decodes_before_its_transaction_begins(environment: Environment) -> None:
    """Its locks and its transaction last less than a second."""
    values = [exact_only(flat(8_000_000), seed) for seed in range(3)]
    letters = [(environment.topics["dialogue"], offset, value) for offset, value in enumerate(values)]
    with psycopg.connect(environment.dsn, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(DEAD_LETTER, letters)
    longest = 0.0
    with start_replay(environment) as replay:
        while replay.poll() is None:
            longest = max(longest, idle_in_transaction(environment))
        assert replay.stdout is not None
        assert json.loads(replay.stdout.read())["inserted"] == len(values)
    assert longest < 1.0
    assert environment.value("SELECT count(*) FROM dead_letters WHERE replayed_at IS NOT NULL") == len(values)


def idle_in_transaction(environment: Environment) -> float:
    """Return for how long the service's transaction has been idle."""
    return float(
        environment.value(
            "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - state_change)), 0) FROM pg_stat_activity"
            " WHERE application_name = 'ragledger' AND state = 'idle in transaction' AND datname = current_database()"
        )
    )


def test_dead_letters_of_erased_users_do_not_stop_a_partition(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """They do not count towards the limit; others do."""
    erased, topic = uuid4(), environment.topics["dialogue"]
    environment.run("erase", "--user", str(erased), "--receipt", str(tmp_path))
    chance = random.Random(1)
    values = [as_json(small_dialogue(chance, id=str(uuid4()), user_id=str(erased))) for _ in range(50)]
    send(bootstrap_servers, [Outgoing(topic, value, partition=0) for value in [*values, *[b"{"] * 9]])
    limit = {"RAGLEDGER_DEAD_LETTERS__MAX_RATIO": "0.1", "RAGLEDGER_DEAD_LETTERS__MIN_COUNT": "10"}
    with ServiceProcess(environment, tmp_path / "log", **limit) as service:
        wait_for_records(environment, 59)
        service.wait_metric("rag_stopped_partitions", 0)
        send(bootstrap_servers, [Outgoing(topic, b"{", partition=0)])
        wait_for_records(environment, 60)
        service.wait_check("stopped", "dead letters")
        assert service.stop() == 0
