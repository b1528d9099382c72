"""Kafka for operators' jobs: what topics hold, publishing, making topics. Through aiokafka, like the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from consumer.adapters.kafka import bounds_of, client_options
from consumer.events.record import Partition
from consumer.ports import Bounds, SourceError
from consumer.settings import Kafka

IN_FLIGHT = 1000
AS_THE_BROKER_HAS_IT = -1
"""As many partitions or replicas as the broker's own settings say (KIP-464)."""


class Message(NamedTuple):
    """A record to publish."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None


async def read_bounds(settings: Kafka, topics: Collection[str]) -> Mapping[Partition, Bounds]:
    """What every partition of the topics holds; topics that do not exist are left out.

    :raises SourceError: Kafka does not answer
    """
    consumer = AIOKafkaConsumer(**client_options(settings), isolation_level="read_committed")
    async with _explained(settings), _started(consumer):
        cluster = await consumer._client.fetch_all_metadata()
        return await bounds_of(
            consumer,
            [Partition(topic, n) for topic in topics for n in cluster.partitions_for_topic(topic) or ()],
        )


async def publish(
    settings: Kafka, messages: Iterable[Message], acknowledged: Callable[[int], None] = lambda _: None
) -> int:
    """Publish, each record acknowledged by every replica in sync and written once; how many there were.

    Of the messages no more are held than are in flight.

    :param acknowledged: called for each acknowledged record with its place among the messages, counted from 0
    :raises SourceError: Kafka does not answer, or refuses a record
    """
    producer = AIOKafkaProducer(
        **client_options(settings), enable_idempotence=True, compression_type="zstd", linger_ms=5
    )
    count = 0
    async with _explained(settings), _started(producer):
        known = (await producer.client.fetch_all_metadata()).topics()
        waiting: dict[asyncio.Future[Any], int] = {}
        for message in messages:
            _demand_topic(message.topic, known)
            if len(waiting) >= IN_FLIGHT:
                await _settle(waiting, acknowledged, asyncio.FIRST_COMPLETED)
            waiting[await _send(producer, message)] = count
            count += 1
        await _settle(waiting, acknowledged, asyncio.ALL_COMPLETED)
    return count


def _demand_topic(topic: str, known: Collection[str]) -> None:
    """The client would ask for a missing topic again and again; say so at once instead."""
    if topic not in known:
        raise SourceError(f"there is no topic {topic}: make it first")


async def _send(producer: Any, message: Message) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = await producer.send(
        message.topic,
        message.value,
        key=message.key,
        headers=list(message.headers),
        timestamp_ms=message.timestamp_ms,
    )
    return future


async def _settle(waiting: dict[asyncio.Future[Any], int], acknowledged: Callable[[int], None], until: str) -> None:
    """Wait for one or all, and take out those that are done.

    One that failed does not hide those that were acknowledged beside it.
    """
    if not waiting:
        return
    done, _ = await asyncio.wait(waiting, return_when=until)
    places = {future: waiting.pop(future) for future in done}
    for future, place in places.items():
        if not future.cancelled() and future.exception() is None:
            acknowledged(place)
    for future in done:
        future.result()


async def create_topics(settings: Kafka, topics: Collection[str], partitions: int, replication: int = 1) -> None:
    """Make the topics that do not exist yet.

    :raises SourceError: Kafka does not answer, or refuses
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    async with _explained(settings):
        await admin.start()
        try:
            for topic in topics:
                # Without an assignment of replicas it would take no AS_THE_BROKER_HAS_IT.
                replicas: dict[str, Any] = (
                    {"replica_assignments": {}} if AS_THE_BROKER_HAS_IT in (partitions, replication) else {}
                )
                await _create_topic(admin, NewTopic(topic, partitions, replication, **replicas))
        finally:
            await admin.close()


async def _create_topic(admin: Any, topic: NewTopic) -> None:
    """aiokafka raises what goes wrong on the way, and hands over what the broker objects to."""
    for _, code, message in (await admin.create_topics([topic])).topic_errors:
        if code not in (NoError.errno, TopicAlreadyExistsError.errno):
            raise for_code(code)(message)


@asynccontextmanager
async def _started(client: Any) -> AsyncIterator[None]:
    try:
        await client.start()
        yield
    finally:
        await client.stop()


@asynccontextmanager
async def _explained(settings: Kafka) -> AsyncIterator[None]:
    try:
        yield
    except KafkaError as error:
        raise SourceError(f"Kafka at {settings.bootstrap_servers}: {error}") from error
