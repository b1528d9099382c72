"""Asks each leader for the first and last offsets of its partitions.

A leader that does not answer affects only its own partitions. aiokafka asks all leaders together, and one partition
without a leader delays the answer for all partitions or makes it fail. aiokafka's requests also end at version 3; since
version 4 (Kafka 2.1) the answer has the leader epoch.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.offset import OffsetRequest_v2
from aiokafka.protocol.types import Array, Int8, Int16, Int32, Int64, Schema, String

from consumer.events.record import Partition
from consumer.ingest.ports import Answers, Bounds
from consumer.kafka.topic_ids import topic_ids

LEADER_SECONDS = 5.0
METADATA_SECONDS = 2.0

_LATEST, _EARLIEST = -1, -2
_API = 2
_TEXT = String("utf-8")
_CONSUMER, _ANY_EPOCH = -1, -1
_REFUSALS = {74: "another epoch has begun", 75: "it is behind the epoch", 78: "its end is not known yet"}
"""The error codes that have no name in aiokafka."""

T = TypeVar("T")
Ask = Callable[[int, Collection[Partition]], Awaitable[Answers[T]]]
"""Asks the leader with this broker id about some of its partitions."""


class LeaderOffset(NamedTuple):
    """An offset, and the epoch of the leader that returned it; None before Kafka 2.1."""

    offset: int
    leader_epoch: int | None


async def bounds_of(client: Any, partitions: Collection[Partition], isolation: int = READ_COMMITTED) -> Answers[Bounds]:
    """Return the first and last offsets of the partitions whose leaders answer.

    :param client: an aiokafka client that has found the brokers
    :param isolation: whether `end` is the end of the committed records or of all records
    :raises KafkaError: no broker answers
    """

    async def ask(leader: int, led: Collection[Partition]) -> Answers[Bounds]:
        # The high watermark is asked for first: records that arrive between the requests are not held back.
        high = await ask_for_offsets(client, leader, led, _LATEST, READ_UNCOMMITTED)
        end = await ask_for_offsets(client, leader, led, _LATEST, isolation)
        first = await ask_for_offsets(client, leader, led, _EARLIEST, isolation)
        unanswered = {**high.unanswered, **end.unanswered, **first.unanswered}
        return Answers({p: _bounds(first[p], end[p], high[p]) for p in set(led) - unanswered.keys()}, unanswered)

    found, ids = await asyncio.gather(
        ask_leaders(client, partitions, ask), topic_ids(client, {partition.topic for partition in partitions})
    )
    return Answers({p: _of_topic(bounds, ids.get(p.topic)) for p, bounds in found.items()}, found.unanswered)


def _bounds(first: LeaderOffset, end: LeaderOffset, high: LeaderOffset) -> Bounds:
    return Bounds(first.offset, end.offset, None, max(0, high.offset - end.offset), end.leader_epoch)


def _of_topic(bounds: Bounds, topic_id: Any) -> Bounds:
    return Bounds(bounds.first, bounds.end, topic_id, bounds.held_back, bounds.leader_epoch)


async def ask_leaders(client: Any, partitions: Collection[Partition], ask: Ask[T]) -> Answers[T]:
    """Ask all leaders concurrently, each with a time limit. If a partition has moved, ask its new leader too."""
    leaders = _leaders(client, partitions)
    found = await _ask_once(leaders, ask)
    if not found.unanswered:
        return found
    await _refresh(client, found.unanswered)
    moved = {p: leader for p, leader in _leaders(client, found.unanswered).items() if leader != leaders[p]}
    again = await _ask_once(moved, ask)
    still = {p: why for p, why in found.unanswered.items() if p not in moved}
    return Answers({**found, **again}, {**still, **again.unanswered})


def _leaders(client: Any, partitions: Collection[Partition]) -> Mapping[Partition, int | None]:
    """Return the broker id of each leader; -1: there is none; None: the client does not know the partition."""
    return {partition: client.cluster.leader_for_partition(TopicPartition(*partition)) for partition in partitions}


async def _ask_once(leaders: Mapping[Partition, int | None], ask: Ask[T]) -> Answers[T]:
    led: dict[int, list[Partition]] = defaultdict(list)
    unanswered: dict[Partition, str] = {}
    for partition, leader in leaders.items():
        if leader is None:
            unanswered[partition] = "the brokers do not list it: it was deleted, or this user may not see it"
        elif leader < 0:
            unanswered[partition] = "it has no leader"
        else:
            led[leader].append(partition)
    answers = await asyncio.gather(*(_ask_within_limits(leader, mine, ask) for leader, mine in led.items()))
    found: dict[Partition, T] = {}
    for answer in answers:
        found |= answer
        unanswered |= answer.unanswered
    return Answers(found, unanswered)


async def _ask_within_limits(leader: int, partitions: Collection[Partition], ask: Ask[T]) -> Answers[T]:
    """Ask one leader. After the limit the request continues, because only its own time-out closes a dead connection."""
    asking = asyncio.ensure_future(ask(leader, partitions))
    asking.add_done_callback(_forget)
    await asyncio.wait({asking}, timeout=LEADER_SECONDS)
    if not asking.done():
        why = f"broker {leader}, its leader, has not answered for {LEADER_SECONDS:.0f} s"
    elif isinstance(error := asking.exception(), KafkaError):
        if isinstance(error, IncompatibleBrokerVersion):
            raise error
        why = f"broker {leader}, its leader, does not answer: {error or type(error).__name__}"
    else:
        return asking.result()
    return Answers({}, dict.fromkeys(partitions, why))


def _forget(asking: asyncio.Future[Any]) -> None:
    """Retrieve the exception, or asyncio would log it: the caller may have stopped waiting."""
    if not asking.cancelled():
        asking.exception()


async def _refresh(client: Any, partitions: Collection[Partition]) -> None:
    """Load the current leaders."""
    for partition in partitions:
        if client.cluster.partitions_for_topic(partition.topic) is None:
            client.add_topic(partition.topic)
    await asyncio.wait({client.force_metadata_update()}, timeout=METADATA_SECONDS)


async def ask_for_offsets(
    client: Any, leader: int, partitions: Collection[Partition], timestamp: int, isolation: int
) -> Answers[LeaderOffset]:
    """Return the offset for a timestamp; -1 means the end, -2 the first offset.

    :raises KafkaError: the leader does not answer
    """
    response = await client.send(leader, _OffsetsRequest(partitions, timestamp, isolation))
    found: dict[Partition, LeaderOffset] = {}
    unanswered: dict[Partition, str] = {}
    for topic, answers in response.topics:
        for number, code, _timestamp, offset, *epoch in answers:
            if code == NoError.errno:
                found[Partition(topic, number)] = LeaderOffset(offset, epoch[0] if epoch and epoch[0] >= 0 else None)
            else:
                unanswered[Partition(topic, number)] = refusal(leader, code)
    return Answers(found, unanswered)


def refusal(leader: int, code: int) -> str:
    """Describe the error code that a leader has returned."""
    return f"broker {leader} returned an error: {_REFUSALS.get(code) or for_code(code).__name__}"


def by_topic(items: Mapping[Partition, T]) -> Sequence[tuple[str, list[tuple[int, T]]]]:
    """Group by topic, as the protocol needs it: for each topic, its partition numbers and their items."""
    topics: dict[str, list[tuple[int, T]]] = defaultdict(list)
    for partition, item in items.items():
        topics[partition.topic].append((partition.partition, item))
    return list(topics.items())


class _OffsetsResponse4(Response):  # type: ignore[misc]
    API_KEY = _API
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            Array(
                ("topic", _TEXT),
                (
                    "partitions",
                    Array(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("timestamp", Int64),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                    ),
                ),
            ),
        ),
    )


class _OffsetsRequest4(RequestStruct):  # type: ignore[misc]
    API_KEY = _API
    API_VERSION = 4
    RESPONSE_TYPE = _OffsetsResponse4
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("isolation_level", Int8),
        (
            "topics",
            Array(
                ("topic", _TEXT),
                ("partitions", Array(("partition", Int32), ("current_leader_epoch", Int32), ("timestamp", Int64))),
            ),
        ),
    )


class _OffsetsRequest(Request[OffsetRequest_v2 | _OffsetsRequest4]):  # type: ignore[misc]
    API_KEY = _API

    def __init__(self, partitions: Collection[Partition], timestamp: int, isolation: int) -> None:
        self._topics, self._isolation = by_topic(dict.fromkeys(partitions, timestamp)), isolation

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is OffsetRequest_v2:
            return request_struct_class(_CONSUMER, self._isolation, self._topics)
        topics = [(topic, [(number, _ANY_EPOCH, at) for number, at in asked]) for topic, asked in self._topics]
        return request_struct_class(_CONSUMER, self._isolation, topics)
