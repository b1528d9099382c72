"""Reading around a record that the client cannot unpack: whatever else fails, no record is passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from consumer.adapters.fetching import Fetching
from consumer.events.record import Partition

CAREFUL, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


class Client:
    """As much of aiokafka's consumer as is asked: each call returns what it has, and moves on."""

    def __init__(self) -> None:
        self.positions = {CAREFUL: 7, OTHER: 3}
        self.failing: set[TopicPartition] = set()
        self._fetcher = SimpleNamespace(error_future=asyncio.get_running_loop().create_future())

    def assignment(self) -> set[TopicPartition]:
        return set(self.positions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int, max_records: int) -> Mapping[Any, Any]:
        wanted = partitions or tuple(self.positions)
        if self.failing & set(wanted):
            raise OffsetOutOfRangeError({partition: self.positions[partition] for partition in self.failing})
        fetched = {partition: [self.positions[partition]] for partition in wanted}
        for partition in wanted:
            self.positions[partition] += 1
        return fetched

    def before(self) -> Mapping[Partition, int]:
        return {Partition(*partition): position for partition, position in self.positions.items()}


async def fetch(client: Client, fetching: Fetching) -> Mapping[TopicPartition, Sequence[Any]]:
    return await fetching.fetch(client.before(), timeout_ms=0, max_records=500)


async def test_a_failure_of_another_partition_passes_nothing_over() -> None:
    """One that is read record by record has moved on by then, and its record was returned to nobody."""
    client = Client()
    fetching = Fetching(cast(AIOKafkaConsumer, client))
    fetching._careful = {CAREFUL: 9}
    client.failing = {OTHER}
    with pytest.raises(OffsetOutOfRangeError):
        await fetch(client, fetching)
    assert client.positions == {CAREFUL: 7, OTHER: 3}
    client.failing = set()
    assert await fetch(client, fetching) == {CAREFUL: [7], OTHER: [3]}
