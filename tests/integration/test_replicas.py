"""Tests groups of 1, 2 and 4 replicas: an even share of the partitions, and no wait for partitions with a backlog."""

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.ingestion import Outgoing, as_json, environment_on, send, small_dialogue, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PARTITIONS = 8
LONG, SHORT = 60_000, 50


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database and topics of eight partitions each."""
    with environment_on(stack, migrated_template, partitions=PARTITIONS) as made:
        yield made


@pytest.mark.parametrize("size", [1, 2, 4])
def test_replicas_share_the_partitions_of_each_topic_evenly(
    size: int, environment: Environment, tmp_path: Path
) -> None:
    """Each replica holds as many partitions of each topic as any other, and every record is written once."""
    publish(environment, dict.fromkeys(range(PARTITIONS), SHORT))
    with ExitStack() as running:
        for number in range(size):
            running.enter_context(ServiceProcess(environment, tmp_path / f"log-{number}"))
        eventually(
            lambda: shares(environment) == [PARTITIONS // size] * size * len(environment.topics),
            message=f"an even share for {size} replicas",
        )
        wait_for_records(environment, PARTITIONS * SHORT)
        environment.assert_caught_up()
    assert environment.value("SELECT count(*) FROM ai_dialogue_log") == PARTITIONS * SHORT


@pytest.mark.parametrize("size", [1, 2])
def test_partitions_with_a_backlog_do_not_hold_up_the_others(
    size: int, environment: Environment, tmp_path: Path
) -> None:
    """Two partitions have a long backlog. Records of the other partitions are written before the backlog ends."""
    publish(environment, {0: LONG, 1: LONG})
    with ExitStack() as running:
        for number in range(size):
            running.enter_context(ServiceProcess(environment, tmp_path / f"log-{number}"))
        wait_for_records(environment, 1)
        publish(environment, dict.fromkeys(range(2, PARTITIONS), SHORT))
        wait_for_records(environment, 2 * LONG + (PARTITIONS - 2) * SHORT, timeout=120)
    last_of_backlog, last_of_others = environment.query(
        "SELECT max(updated_at) FILTER (WHERE partition < 2) AS backlog, max(updated_at) FILTER (WHERE partition >= 2)"
        " AS others FROM ingest_ledger WHERE topic = %s",
        environment.topics["dialogue"],
    )[0].values()
    assert last_of_others < last_of_backlog


def publish(environment: Environment, counts: dict[int, int]) -> None:
    """Publish so many dialogues without an id to each of these partitions."""
    topic, value = environment.topics["dialogue"], as_json(small_dialogue(random.Random(1)))
    value = json.dumps({name: member for name, member in json.loads(value).items() if name != "id"}).encode()
    records = (Outgoing(topic, value, partition=partition) for partition, count in counts.items() for _ in range(count))
    send(environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], records, **{"queue.buffering.max.messages": 0})


def shares(environment: Environment) -> list[int]:
    """Return how many partitions of each topic each replica has, in ascending order."""
    rows = environment.query("SELECT count(*)::int AS partitions FROM ingest_ledger GROUP BY topic, owner ORDER BY 1")
    return [row["partitions"] for row in rows]
