"""Asks the brokers about topics and the group, for `doctor`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from consumer.events.record import Partition
from consumer.ingest.ports import Refusal, SourceError
from consumer.kafka.access import denied_topics, group_denied
from consumer.kafka.client_patches import described
from consumer.kafka.consumer import client_options
from consumer.kafka.group import Group, GroupMember, describe_group
from consumer.kafka.producers import OpenTransaction, open_transactions
from consumer.kafka.topic_ids import topics_named
from consumer.settings.servers import Kafka

_SETTINGS = ("cleanup.policy", "retention.ms")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that exists. Without the right to read its configuration, `retention_ms` and `cleanup` are None.

    `retention_ms` is -1 if Kafka deletes no record because of its age. `replicas` is the lowest number of
    copies of any partition.
    """

    partitions: int
    replicas: int
    retention_ms: int | None = None
    cleanup: str | None = None


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """The answers of the brokers.

    :param topics: the topics of the settings that exist
    :param members: the number of members of the group; None if it is unknown
    :param refusals: the topics that we may not read, and the group if we may not join it
    :param strangers: the members that are not ragledger
    """

    topics: Mapping[str, Topic]
    members: int | None
    brokers: int
    refusals: Sequence[Refusal] = ()
    strangers: Sequence[GroupMember] = ()


async def look_at_kafka(settings: Kafka, topics: Collection[str]) -> KafkaFacts:
    """Ask the brokers about the topics and the group.

    :raises SourceError: they do not answer
    """
    try:
        async with _admin(settings) as admin:
            named = await topics_named(admin._client, topics)
            found = {name: Topic(len(one.replicas), min(one.replicas)) for name, one in named.items() if one.replicas}
            brokers = len((await admin.describe_cluster())["brokers"])
            group, refused = await _group(admin, settings)
            members = group.members if group else []
            return KafkaFacts(
                await _with_settings(admin, found),
                len(members) if group else None,
                brokers,
                [*denied_topics(settings, named), *refused],
                [member for member in members if not member.is_ours(topics)],
            )
    except KafkaError as error:
        raise SourceError(f"Kafka at {settings.bootstrap_servers}: {described(error)}") from error


async def find_open_transactions(
    settings: Kafka, partitions: Collection[Partition]
) -> Mapping[Partition, OpenTransaction]:
    """Return the oldest open transaction of each partition. Partitions without a known one are left out.

    :raises SourceError: they do not answer
    """
    try:
        async with _admin(settings) as admin:
            await admin._client.set_topics({partition.topic for partition in partitions})
            return await open_transactions(admin._client, partitions)
    except KafkaError as error:
        raise SourceError(f"Kafka at {settings.bootstrap_servers}: {described(error)}") from error


async def count_members(settings: Kafka) -> int | None:
    """Return the number of members of the group; None if it is unknown.

    :raises SourceError: no broker answers
    """
    try:
        async with _admin(settings) as admin:
            group, _ = await _group(admin, settings)
            return len(group.members) if group else None
    except KafkaError as error:
        raise SourceError(f"Kafka at {settings.bootstrap_servers}: {described(error)}") from error


@asynccontextmanager
async def _admin(settings: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


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


async def _group(admin: AIOKafkaAdminClient, settings: Kafka) -> tuple[Group | None, Sequence[Refusal]]:
    """Return the group, or None if it is unknown, and a refusal if we may not join it."""
    try:
        group = await describe_group(admin._client, settings.group_id)
    except GroupAuthorizationFailedError:
        return None, [group_denied(settings)]
    except (KafkaError, NotImplementedError):  # the cluster has never had a group, or its brokers are old
        return None, []
    return group, [] if group.may_read else [group_denied(settings)]
