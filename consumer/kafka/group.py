"""Describes a consumer group, for both of Kafka's group protocols.

aiokafka knows only the classic protocol, and not the rights in its answers, so this module defines the requests. If a
group uses the new protocol (KIP-848, Kafka 4), the classic request returns it without members.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.client import CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import IncompatibleBrokerVersion, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from consumer.kafka.topic_ids import UNKNOWN_RIGHTS, Operation, Uuid

CLIENT_ID = "ragledger"
"""The client id of every client of ragledger."""

_AIOKAFKA_ID = "aiokafka-"  # the client id of earlier versions begins with this
_CLASSIC, _NEW = "classic", "consumer"
_TEXT = CompactString("utf-8")


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A member of the group.

    :param topics: its subscription; None if that is a pattern or has an unknown format
    :param protocol: `classic` or `consumer`
    """

    client_id: str
    host: str
    topics: frozenset[str] | None
    protocol: str

    @property
    def is_classic(self) -> bool:
        """Whether it uses the classic group protocol, as ragledger does."""
        return self.protocol == _CLASSIC

    def is_ours(self, topics: Collection[str]) -> bool:
        """Whether it is a replica of ragledger that reads these topics."""
        if self.client_id == CLIENT_ID:
            return True
        is_earlier = self.client_id.startswith(_AIOKAFKA_ID) and self.is_classic
        return is_earlier and self.topics is not None and self.topics <= set(topics)

    def takes(self, topics: Collection[str]) -> bool:
        """Whether the group may assign partitions of these topics to it."""
        return self.topics is None or not self.topics.isdisjoint(topics)

    def __str__(self) -> str:
        reads = "a pattern" if self.topics is None else ", ".join(sorted(self.topics)) or "nothing"
        return f"client {self.client_id} at {self.host.lstrip('/')} (protocol {self.protocol}, subscribes to {reads})"


@dataclass(frozen=True, slots=True)
class Group:
    """A group as its coordinator describes it.

    :param may_read: whether we may be a member of it
    """

    members: Sequence[GroupMember]
    may_read: bool


async def describe_group(client: Any, group: str) -> Group:
    """Return the members of the group, and whether we may join it.

    :param client: an aiokafka client that has found the brokers
    :raises GroupAuthorizationFailedError: we may not describe the group
    :raises KafkaError: no coordinator answers, or the brokers are older than Kafka 2.4
    """
    coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
    response = await client.send(coordinator, _ClassicRequest(group))
    [(error, _id, _state, _type, _assignor, members, rights, _tags)] = response.groups
    if error != NoError.errno:
        raise for_code(error)(group)
    may_read = rights == UNKNOWN_RIGHTS or bool(rights >> Operation.READ & 1)
    return Group([_classic(*member) for member in members] or await _new_members(client, coordinator, group), may_read)


async def _new_members(client: Any, coordinator: int, group: str) -> Sequence[GroupMember]:
    """Return the members of a group of the new protocol; empty if the group or the broker does not use it."""
    try:
        response = await client.send(coordinator, _NewRequest(group))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return []
    return [_new(*member) for described in response.groups if not described[0] for member in described[7]]


def _classic(
    _id: str, _instance: str, client_id: str, host: str, metadata: bytes, _assignment: bytes, _tags: Any
) -> GroupMember:
    try:
        topics = frozenset(ConsumerProtocol.METADATA.decode(metadata).subscription)
    except (ValueError, TypeError, AttributeError):  # another program's format, or a member that is still joining
        topics = None
    return GroupMember(client_id, host, topics, _CLASSIC)


def _new(
    _id: str,
    _instance: str,
    _rack: str,
    _epoch: int,
    client_id: str,
    host: str,
    topics: Sequence[str],
    pattern: str | None,
    *_assigned: Any,
) -> GroupMember:
    return GroupMember(client_id, host, None if pattern else frozenset(topics), _NEW)


class _ClassicResponse(Response):  # type: ignore[misc]
    API_KEY = 15
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("error_code", Int16),
                ("group", _TEXT),
                ("state", _TEXT),
                ("protocol_type", _TEXT),
                ("protocol", _TEXT),
                (
                    "members",
                    CompactArray(
                        ("member_id", _TEXT),
                        ("group_instance_id", _TEXT),
                        ("client_id", _TEXT),
                        ("client_host", _TEXT),
                        ("member_metadata", CompactBytes),
                        ("member_assignment", CompactBytes),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _ClassicRequest5(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 15
    API_VERSION = 5
    RESPONSE_TYPE = _ClassicResponse
    SCHEMA = Schema(("groups", CompactArray(_TEXT)), ("include_authorized_operations", Boolean), ("tags", TaggedFields))


class _ClassicRequest(Request[_ClassicRequest5]):  # type: ignore[misc]
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_ClassicRequest5]) -> _ClassicRequest5:
        return request_struct_class([self._group], True, {})


_ASSIGNED = CompactArray(
    ("topic_id", Uuid), ("topic", _TEXT), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
)


class _NewResponse(Response):  # type: ignore[misc]
    API_KEY = 69
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "groups",
            CompactArray(
                ("error_code", Int16),
                ("error_message", _TEXT),
                ("group", _TEXT),
                ("state", _TEXT),
                ("epoch", Int32),
                ("assignment_epoch", Int32),
                ("assignor", _TEXT),
                (
                    "members",
                    CompactArray(
                        ("member_id", _TEXT),
                        ("instance_id", _TEXT),
                        ("rack_id", _TEXT),
                        ("member_epoch", Int32),
                        ("client_id", _TEXT),
                        ("client_host", _TEXT),
                        ("topics", CompactArray(_TEXT)),
                        ("topic_pattern", _TEXT),
                        ("assignment", _ASSIGNED),
                        ("assignment_tags", TaggedFields),
                        ("target", _ASSIGNED),
                        ("target_tags", TaggedFields),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _NewRequest0(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 69
    API_VERSION = 0
    RESPONSE_TYPE = _NewResponse
    SCHEMA = _ClassicRequest5.SCHEMA


class _NewRequest(Request[_NewRequest0]):  # type: ignore[misc]
    API_KEY = 69

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_NewRequest0]) -> _NewRequest0:
        return request_struct_class([self._group], False, {})
