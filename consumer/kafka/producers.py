"""Finds open transactions with the request DescribeProducers (Kafka 2.8), which aiokafka lacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from consumer.events.record import Partition

_API = 61
_TEXT = CompactString("utf-8")


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The oldest open transaction of a partition.

    :param start: its first offset in the partition
    :param written_at: when its producer last wrote to the partition, in milliseconds since 1970
    """

    producer_id: int
    start: int
    written_at: int


async def open_transactions(client: Any, partitions: Collection[Partition]) -> Mapping[Partition, OpenTransaction]:
    """Return the oldest open transaction of each partition.

    A partition is left out if it has none, or if its leader does not answer or refuses the request.

    :param client: an aiokafka client that knows the leaders of the partitions
    """
    by_leader: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for partition in partitions:
        leader = client.cluster.leader_for_partition(TopicPartition(*partition))
        if leader is not None and leader >= 0:
            by_leader[leader][partition.topic].append(partition.partition)
    found: dict[Partition, OpenTransaction] = {}
    for leader, topics in by_leader.items():
        found |= await _ask(client, leader, topics)
    return found


async def _ask(client: Any, leader: int, topics: Mapping[str, Sequence[int]]) -> Mapping[Partition, OpenTransaction]:
    try:
        response = await client.send(leader, _ProducersRequest(topics))
    except (KafkaError, NotImplementedError):
        return {}
    oldest = {
        Partition(topic, number): _oldest(producers)
        for topic, described, _ in response.topics
        for number, _error, _message, producers, _ in described
    }
    return {partition: found for partition, found in oldest.items() if found is not None}


def _oldest(producers: Iterable[tuple[Any, ...]]) -> OpenTransaction | None:
    found = [
        OpenTransaction(producer, start, written_at)
        for producer, _epoch, _sequence, written_at, _coordinator, start, _tags in producers
        if start >= 0
    ]
    return min(found, key=lambda one: one.start, default=None)


class _ProducersResponse(Response):  # type: ignore[misc]
    API_KEY = _API
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", _TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", _TEXT),
                        (
                            "producers",
                            CompactArray(
                                ("producer_id", Int64),
                                ("producer_epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp", Int64),
                                ("coordinator_epoch", Int32),
                                ("transaction_start", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ProducersRequest0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = _API
    API_VERSION = 0
    RESPONSE_TYPE = _ProducersResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("name", _TEXT), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))),
        ("tags", TaggedFields),
    )


class _ProducersRequest(Request[_ProducersRequest0]):  # type: ignore[misc]
    API_KEY = _API

    def __init__(self, topics: Mapping[str, Sequence[int]]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_ProducersRequest0]) -> _ProducersRequest0:
        return request_struct_class([(topic, numbers, {}) for topic, numbers in self._topics.items()], {})
