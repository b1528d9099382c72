"""Which topic a name stands for: Kafka gives each topic an id, and one made anew another.

aiokafka speaks the metadata request up to version 5; ids come with version 10 (Kafka 2.8), which is spelt out here.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.errors import IncompatibleBrokerVersion, KafkaError, NodeNotReadyError
from aiokafka.protocol.api import Request, RequestStruct, Response
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
_METADATA = 3
_NONE = UUID(int=0)
_TEXT = CompactString("utf-8")


async def topic_ids(client: Any, topics: Collection[str]) -> Mapping[str, UUID]:
    """The ids of these topics; left out where there is no such topic, or no broker that tells.

    :param client: an aiokafka client that has found the brokers
    :raises KafkaError: no broker answers
    """
    try:
        response = await _ask_any_broker(client, _TopicIdsRequest(topics))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {}
    found = [(topic[1], topic[2]) for topic in response.topics if not topic[0]]
    return {name: topic_id for name, topic_id in found if topic_id != _NONE}


async def _ask_any_broker(client: Any, request: Any) -> Any:
    """One that does not answer may be down alone."""
    brokers = [broker.nodeId for broker in client.cluster.brokers()]
    random.shuffle(brokers)
    failure: KafkaError = NodeNotReadyError("no broker is known")
    for broker in brokers:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await client.send(broker, request)
        except IncompatibleBrokerVersion:
            raise
        except TimeoutError:
            failure = NodeNotReadyError(f"broker {broker} has not answered for {ANSWER_SECONDS:.0f} s")
        except KafkaError as error:
            failure = error
    raise failure


class _Uuid(AbstractType):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


class _TopicIdsResponse(Response):  # type: ignore[misc]
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
                ("topic_id", _Uuid),
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


class _TopicIdsRequest10(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = _METADATA
    API_VERSION = 10
    RESPONSE_TYPE = _TopicIdsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicIdsRequest(Request[_TopicIdsRequest10]):  # type: ignore[misc]
    API_KEY = _METADATA

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_TopicIdsRequest10]) -> _TopicIdsRequest10:
        topics: list[tuple[UUID, str, Mapping[int, bytes]]] = [(_NONE, topic, {}) for topic in sorted(self._topics)]
        return request_struct_class(topics, False, False, False, {})
