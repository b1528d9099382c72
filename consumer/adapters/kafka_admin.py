"""What the brokers say of topics and of the group, for `doctor`. Through aiokafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from consumer.adapters.kafka import client_options
from consumer.ports import SourceError
from consumer.settings import Kafka

_SETTINGS = ("cleanup.policy", "retention.ms")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that exists; without a right to its configuration, `retention_ms` and `cleanup` are None.

    `retention_ms` is -1 where nothing is deleted for its age; `replicas` is the least number of copies of a partition.
    """

    partitions: int
    replicas: int
    retention_ms: int | None = None
    cleanup: str | None = None


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """The topics of the settings that exist, how many members the group has (None: not known), how many brokers."""

    topics: Mapping[str, Topic]
    members: int | None
    brokers: int


async def look_at_kafka(settings: Kafka, topics: Collection[str]) -> KafkaFacts:
    """Ask the brokers.

    :raises SourceError: they do not answer
    """
    try:
        async with _admin(settings) as admin:
            found = await _topics(admin, topics)
            brokers = len((await admin.describe_cluster())["brokers"])
            return KafkaFacts(await _with_settings(admin, found), await _members(admin, settings.group_id), brokers)
    except KafkaError as error:
        raise SourceError(f"Kafka at {settings.bootstrap_servers}: {error}") from error


async def count_members(settings: Kafka) -> int | None:
    """How many members the group has; None where that cannot be told.

    :raises SourceError: no broker answers
    """
    try:
        async with _admin(settings) as admin:
            return await _members(admin, settings.group_id)
    except KafkaError as error:
        raise SourceError(f"Kafka at {settings.bootstrap_servers}: {error}") from error


@asynccontextmanager
async def _admin(settings: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _topics(admin: AIOKafkaAdminClient, names: Collection[str]) -> Mapping[str, Topic]:
    described: list[dict[str, Any]] = await admin.describe_topics(list(names))
    return {
        topic["topic"]: Topic(
            len(topic["partitions"]), min(len(partition["replicas"]) for partition in topic["partitions"])
        )
        for topic in described
        if topic["error_code"] == 0 and topic["partitions"]
    }


async def _with_settings(admin: AIOKafkaAdminClient, topics: Mapping[str, Topic]) -> Mapping[str, Topic]:
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, configs=dict.fromkeys(_SETTINGS)) for name in topics]
    found = dict(topics)
    for response in await admin.describe_configs(asked) if asked else ():
        for error, _message, _type, name, entries in response.resources:
            values = {entry[0]: entry[1] for entry in entries}
            if error == 0 and values.keys() >= set(_SETTINGS):
                kept = int(values["retention.ms"])
                found[name] = replace(found[name], retention_ms=kept, cleanup=values["cleanup.policy"])
    return found


async def _members(admin: AIOKafkaAdminClient, group: str) -> int | None:
    try:
        (response,) = await admin.describe_consumer_groups([group])
    except KafkaError:  # no group has ever met on this cluster, or we may not ask
        return None
    (described,) = response.groups
    error, _group, _state, _protocol_type, _protocol, members, *_ = described
    return len(members) if error == 0 else None
