"""Finds the topics and groups that this replica may not use.

The sources are a regular request to the brokers, and the errors that fetches and the group return.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from consumer.ingest.ports import Refusal
from consumer.kafka.group import GroupMember, describe_group
from consumer.kafka.topic_ids import NamedTopic, Operation, topics_named
from consumer.settings.servers import Kafka

# A refused fetch is repeated every few seconds. If no fetch was refused for this long, the refusal has ended.
REMEMBER_SECONDS = 15.0


def topic_denied(settings: Kafka, topic: str, operation: Operation = Operation.READ) -> Refusal:
    """Return the refusal for a topic that this user may not read or write."""
    return _denied(settings, "topic", topic, operation)


def group_denied(settings: Kafka) -> Refusal:
    """Return the refusal for a group that this user may not join."""
    return _denied(settings, "group", settings.group_id, Operation.READ)


def transactional_id_denied(settings: Kafka, name: str) -> Refusal:
    """Return the refusal for a transactional id that this user may not use."""
    return _denied(settings, "transactional-id", name, Operation.WRITE)


def _denied(settings: Kafka, resource: str, name: str, operation: Operation) -> Refusal:
    what = operation.name.capitalize()
    user = settings.sasl_username or "<its name at the brokers>"
    grant = (
        f"kafka-acls.sh --bootstrap-server {settings.bootstrap_servers} --add --allow-principal 'User:{user}'"
        f" --operation {what} --{resource} '{name}'"
    )
    return Refusal(resource, name, f"not authorized: this user has no {what} on it", grant)


def taken_by(settings: Kafka, strangers: Collection[GroupMember]) -> Refusal:
    """Return the refusal for a group of which other programs are members too."""
    named = "; ".join(map(str, strangers)) or "unknown members"
    problem = f"other programs are members of it: {named}. Records of their partitions are not written"
    return Refusal("group", settings.group_id, problem, "give them another group id, or give ragledger its own")


def denied_topics(settings: Kafka, named: Mapping[str, NamedTopic]) -> list[Refusal]:
    """Return a refusal for each topic that this user may not read."""
    return [topic_denied(settings, name) for name, topic in sorted(named.items()) if topic.denies(Operation.READ)]


class KafkaAccess:
    """Keeps the current refusals. Without a restart, it notices that a right was granted or that a member has left."""

    def __init__(self, settings: Kafka, topics: Collection[str]) -> None:
        self._settings, self._topics = settings, list(topics)
        self._asked: dict[str, Refusal] = {}
        self._fetches: dict[str, float] = {}
        self._kept_out: KafkaError | None = None
        self._strangers: Sequence[GroupMember] = ()
        self.missing: frozenset[str] = frozenset()

    @property
    def refusals(self) -> Collection[Refusal]:
        """The current refusals."""
        now = time.monotonic()
        by_fetch = [topic for topic, moment in self._fetches.items() if now - moment < REMEMBER_SECONDS]
        topics = {topic: topic_denied(self._settings, topic) for topic in by_fetch} | self._asked
        return [*topics.values(), *self._group_refusals()]

    def _group_refusals(self) -> Iterator[Refusal]:
        """A member that subscribes to other topics matters only if the group rejects us because of it."""
        harmful = [one for one in self._strangers if self._kept_out or one.takes(self._topics)]
        if isinstance(self._kept_out, GroupAuthorizationFailedError):
            yield group_denied(self._settings)
        elif self._kept_out or harmful:
            yield taken_by(self._settings, harmful)

    def refuse_fetch(self, topic: str) -> None:
        """A fetch from the topic was refused."""
        self._fetches[topic] = time.monotonic()

    def refuse_group(self, error: KafkaError) -> None:
        """The group has rejected or removed this replica."""
        self._kept_out = error

    def joined(self) -> None:
        """The group has accepted this replica."""
        self._kept_out = None

    async def look(self, client: Any) -> None:
        """Ask the brokers about the topics and the group.

        :raises KafkaError: they do not answer
        """
        named = await topics_named(client, self._topics)
        self._asked = {refusal.name: refusal for refusal in denied_topics(self._settings, named)}
        there = {name for name, topic in named.items() if topic.exists}
        self.missing = frozenset(named.keys() - there - self._asked.keys())
        for name, topic in named.items():
            if topic.rights is not None and not topic.denies(Operation.READ):
                self._fetches.pop(name, None)
        if there != client.cluster.topics() & set(self._topics):
            client.force_metadata_update()  # now, instead of when the client's metadata is too old
        self._strangers = await self._ask_for_strangers(client)

    async def _ask_for_strangers(self, client: Any) -> Sequence[GroupMember]:
        try:
            group = await describe_group(client, self._settings.group_id)
        except (GroupAuthorizationFailedError, NotImplementedError):
            return []
        return [one for one in group.members if not one.is_ours(self._topics)]
