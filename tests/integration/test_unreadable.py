"""A record that the client cannot unpack: its partition stops before it, the others go on, nothing is passed over."""

import asyncio
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from tests.ingestion import as_json, dialogues, environment_on, ids, log_lines, send, small_dialogue
from tests.service import Environment, ServiceProcess, eventually
from tests.stack import Servers

pytestmark = pytest.mark.timeout(120)

PARTITIONS = 3
SPOILT = (0, 2)  # one of them is looked at after the sound one, whose records must not be lost with its failure
BEFORE, BEHIND = 120, 30


class NoUtf8(str):
    """A name that other clients would put on the wire as it is."""

    def encode(self, *_arguments: str) -> bytes:
        return b"geheim \xff"


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Three partitions a topic."""
    with environment_on(stack, migrated_template, partitions=PARTITIONS) as made:
        yield made


async def send_unreadable(bootstrap_servers: str, topic: str, partition: int) -> None:
    """One record with such a header."""
    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap_servers)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, False, -1, -1, 0, 1 << 20)  # the quick one checks names
        value = as_json(small_dialogue(random.Random(partition)))
        batch.append(key=None, value=value, timestamp=None, headers=[(NoUtf8("x"), b"geheim")])
        await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()


def publish(bootstrap_servers: str, topic: str, count: int, partitions: Iterable[int], seed: int) -> set[UUID]:
    """Dialogues for each of these partitions; their ids."""
    made: set[UUID] = set()
    for partition in partitions:
        records = dialogues(topic, count, seed + partition)
        send(bootstrap_servers, [record._replace(partition=partition) for record in records.values()])
        made |= records.keys()
    return made


def leave_out(environment: Environment, topic: str, partition: int) -> Any:
    """Decide as the log says: go on behind the record that cannot be read."""
    where = ("--topic", topic, "--partition", str(partition), "--from", str(BEFORE + 1))
    return environment.run_json("ledger", "resume", *where)


def test_an_unreadable_record_stops_its_partition_alone(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """What came before it is written, nothing behind it, and all of the other partitions; then a person decides."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    wanted = publish(bootstrap_servers, topic, BEFORE, range(PARTITIONS), seed=10)
    for partition in SPOILT:
        asyncio.run(send_unreadable(bootstrap_servers, topic, partition))
    behind = publish(bootstrap_servers, topic, BEHIND, SPOILT, seed=20)
    with ServiceProcess(environment, log) as service:
        eventually(lambda: len(log_lines(log, "partition_stopped")) == len(SPOILT), message="stopped")
        wanted |= publish(bootstrap_servers, topic, BEHIND, [1], seed=30)
        eventually(lambda: ids(environment) >= wanted, message="the sound one goes on")
        assert ids(environment) == wanted
        service.wait_metric("rag_stopped_partitions", len(SPOILT))
        service.wait_page("/healthz", 200)
        for partition in SPOILT:
            assert leave_out(environment, topic, partition)["skipped"] == 1
        eventually(lambda: ids(environment) == wanted | behind, message="all written")
        environment.assert_caught_up()
        assert service.stop() == 0
    assert all(f"offset {BEFORE} " in line["problem"] for line in log_lines(log, "partition_stopped"))
    assert "geheim" not in log.read_text()
