"""Asks the brokers about topics by name: whether a topic exists, its id, and our rights to it.

Kafka gives each topic an id; a recreated topic gets a new one. aiokafka implements the metadata request up to version
5. Ids and rights come with version 10 (Kafka 2.8), which this module defines. An older broker also distinguishes a
topic that we may not see from a missing topic.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    NodeNotReadyError,
    NoError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

ANSWER_SECONDS = 10.0
PATIENCE_SECONDS = 1.0
_METADATA = 3
_NONE = UUID(int=0)
_TEXT = CompactString("utf-8")


UNKNOWN_RIGHTS = -(2**31)
"""The value in an answer without rights."""


class Operation(IntEnum):
    """Kafka's codes of operations. Each is the number of a bit in a set of rights."""

    READ = 3
    WRITE = 4


@dataclass(frozen=True, slots=True)
class NamedTopic:
    """The answer of a broker about a topic's name.

    :param error: Kafka's error code; 0 if the topic exists
    :param topic_id: None if the broker returns no ids
    :param rights: the operations that we may do, as a bit set; None if the broker returns no rights
    :param replicas: the number of copies of each partition
    """

    error: int
    topic_id: UUID | None = None
    rights: int | None = None
    replicas: tuple[int, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether the topic exists and we may see it."""
        return bool(self.error == NoError.errno)

    def denies(self, operation: Operation) -> bool:
        """Whether the broker denies this operation, or hides the topic from us."""
        if self.error == TopicAuthorizationFailedError.errno:
            return True
        return self.exists and self.rights is not None and not self.rights & (1 << operation)


async def topics_named(client: Any, topics: Collection[str]) -> Mapping[str, NamedTopic]:
    """Return the answer of one broker about each of these names.

    :param client: an aiokafka client that has found the brokers
    :raises KafkaError: no broker answers
    """
    response = await _ask_any_broker(client, _TopicsRequest(topics))
    named = _named_10 if response.API_VERSION >= _TopicsResponse10.API_VERSION else _named_5
    return dict(named(*topic) for topic in response.topics)


def _named_5(error: int, name: str, _internal: bool, partitions: Any) -> tuple[str, NamedTopic]:
    return name, NamedTopic(error, replicas=tuple(len(partition[3]) for partition in partitions))


def _named_10(
    error: int, name: str, topic_id: UUID, _internal: bool, partitions: Any, rights: int, _tags: Any
) -> tuple[str, NamedTopic]:
    replicas = tuple(len(partition[4]) for partition in partitions)
    known_id = None if topic_id == _NONE else topic_id
    return name, NamedTopic(error, known_id, None if rights == UNKNOWN_RIGHTS else rights, replicas)


async def topic_ids(client: Any, topics: Collection[str]) -> Mapping[str, UUID]:
    """Return the ids of these topics. A topic is left out if it does not exist, or if the broker returns no ids.

    :raises KafkaError: no broker answers
    """
    named = await topics_named(client, topics)
    return {name: topic.topic_id for name, topic in named.items() if topic.exists and topic.topic_id is not None}


async def _ask_any_broker(client: Any, request: Any) -> Any:
    """Ask one broker, and after each second without an answer one more; return the first answer."""
    brokers = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(brokers)
    failure: KafkaError = NodeNotReadyError("no broker is known")
    asked: dict[asyncio.Future[Any], int] = {}
    try:
        while brokers or asked:
            if brokers:
                broker = brokers.pop()
                asked[asyncio.ensure_future(_ask(client, broker, request))] = broker
            answered, _ = await asyncio.wait(
                asked, timeout=PATIENCE_SECONDS if brokers else None, return_when=asyncio.FIRST_COMPLETED
            )
            for one in answered:
                asked.pop(one)
                error = one.exception()
                if error is None:
                    return one.result()
                if not isinstance(error, KafkaError) or isinstance(error, IncompatibleBrokerVersion):
                    raise error
                failure = error
    finally:
        for one in asked:
            one.cancel()
    raise failure


async def _ask(client: Any, broker: int, request: Any) -> Any:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await client.send(broker, request)
    except TimeoutError:
        raise NodeNotReadyError(f"broker {broker} has not answered for {ANSWER_SECONDS:.0f} s") from None


class Uuid(AbstractType):  # type: ignore[misc]
    """16 bytes."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        """Return the 16 bytes of the protocol."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        """Read the next 16 bytes."""
        return UUID(bytes=data.read(16))


class _TopicsResponse10(Response):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields)),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _TopicsRequest10(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = _METADATA
    API_VERSION = 10
    RESPONSE_TYPE = _TopicsResponse10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicsRequest(Request[MetadataRequest_v5 | _TopicsRequest10]):  # type: ignore[misc]
    """Never lets a broker create a topic."""

    API_KEY = _METADATA

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = sorted(topics)

    def build(self, request_struct_class: Any) -> Any:
        if request_struct_class is MetadataRequest_v5:
            return request_struct_class(self._topics, False)
        topics: list[tuple[UUID, str, Mapping[int, bytes]]] = [(_NONE, topic, {}) for topic in self._topics]
        return request_struct_class(topics, False, False, True, {})
