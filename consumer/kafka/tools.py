"""Kafka for operators' jobs: what topics hold, publishing, making topics. Through aiokafka, like the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from consumer.events.record import Partition
from consumer.ingest.log_watch import question_about
from consumer.ingest.offsets import Claim
from consumer.ingest.ports import Answers, Bounds, Refusal, SourceError
from consumer.kafka.access import denied_topics, topic_denied
from consumer.kafka.connection import described
from consumer.kafka.consumer import client_options
from consumer.kafka.leader_epochs import epoch_ends
from consumer.kafka.leaders import bounds_of
from consumer.kafka.topic_ids import Operation, topics_named
from consumer.settings.model import Kafka

IN_FLIGHT = 1000
PATIENCE_SECONDS, RETRY_SECONDS = 2.0, 0.25
AS_THE_BROKER_HAS_IT = -1
"""As many partitions or replicas as the broker's own settings say (KIP-464)."""


class Message(NamedTuple):
    """A record to publish."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None


class TopicsLook(NamedTuple):
    """What the brokers say about topics.

    :param bounds: what each partition holds; topics that do not exist, or of which we may not know, are left out
    :param denied: the topics that we may not read
    """

    bounds: Answers[Bounds]
    denied: Sequence[Refusal]

    @property
    def hidden(self) -> Sequence[Refusal]:
        """The topics that we may not even know of."""
        shown = {partition.topic for partition in (*self.bounds, *self.bounds.unanswered)}
        return [refusal for refusal in self.denied if refusal.name not in shown]


async def look_at_topics(settings: Kafka, topics: Collection[str]) -> TopicsLook:
    """What every partition of the topics holds, and what we may not read.

    :raises SourceError: Kafka does not answer
    """
    consumer = AIOKafkaConsumer(**client_options(settings))
    async with _explained(settings), _started(consumer):
        named = await topics_named(consumer._client, topics)
        there = {name: len(topic.replicas) for name, topic in named.items() if topic.exists}
        if there:
            await consumer._client.set_topics(there)
        partitions = [Partition(name, n) for name, count in there.items() for n in range(count)]
        bounds = await patient_bounds_of(consumer._client, partitions)
        return TopicsLook(bounds, denied_topics(settings, named))


async def patient_bounds_of(
    client: Any, partitions: Collection[Partition], isolation: int = READ_COMMITTED
) -> Answers[Bounds]:
    """What the partitions hold. A topic that was just made has no leaders yet, so some are asked for again for a while.

    :raises KafkaError: no broker answers
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE_SECONDS
    found = await bounds_of(client, partitions, isolation)
    while found.unanswered and loop.time() < until:
        await asyncio.sleep(RETRY_SECONDS)
        again = await bounds_of(client, found.unanswered.keys(), isolation)
        found = Answers({**found, **again}, again.unanswered)
    return found


async def log_ends(
    settings: Kafka, claims: Collection[Claim], bounds: Mapping[Partition, Bounds]
) -> Answers[int | None]:
    """Up to which offsets the logs hold what was written under the claims' leader epochs and earlier ones.

    :returns: left out where the claims' leaders still lead, or no epochs are known; None where the leaders keep none
    :raises SourceError: Kafka does not answer
    """
    held = [(claim, bounds[claim.partition]) for claim in claims if claim.partition in bounds]
    questions = {claim.partition: asked for claim, found in held if (asked := question_about(claim, found))}
    if not questions:
        return Answers({})
    consumer = AIOKafkaConsumer(**client_options(settings))
    async with _explained(settings), _started(consumer):
        await consumer._client.set_topics({partition.topic for partition in questions})
        return await epoch_ends(consumer._client, questions)


async def read_bounds(settings: Kafka, topics: Collection[str]) -> Answers[Bounds]:
    """What every partition of the topics holds; topics that do not exist are left out.

    :raises SourceError: Kafka does not answer, or does not let us know
    """
    look = await look_at_topics(settings, topics)
    if look.hidden:
        raise SourceError("; ".join(map(str, look.hidden)))
    return look.bounds


async def publish(
    settings: Kafka,
    messages: Iterable[Message] | AsyncIterable[Message],
    acknowledged: Callable[[int], None] = lambda _: None,
) -> int:
    """Publish, each record acknowledged by every replica in sync and written once; how many there were.

    Of the messages no more are held than are in flight.

    :param acknowledged: called for each acknowledged record with its place among the messages, counted from 0
    :raises SourceError: Kafka does not answer, or refuses a record
    """
    demanded: set[str] = set()
    remaining = aiter(messages) if isinstance(messages, AsyncIterable) else _each(messages)
    first = await anext(remaining, None)
    if first is None:
        return 0
    # Without any right to write the producer would not even start.
    await _demand_open_topic(settings, first.topic, demanded)
    producer = AIOKafkaProducer(
        **client_options(settings), enable_idempotence=True, compression_type="zstd", linger_ms=5
    )
    count = 0
    async with _explained(settings), _started(producer):
        waiting: dict[asyncio.Future[Any], int] = {}
        message: Message | None = first
        while message is not None:
            await _demand_open_topic(settings, message.topic, demanded)
            if len(waiting) >= IN_FLIGHT:
                await _settle(waiting, acknowledged, asyncio.FIRST_COMPLETED)
            waiting[await _send(producer, message)] = count
            count += 1
            message = await anext(remaining, None)
        await _settle(waiting, acknowledged, asyncio.ALL_COMPLETED)
    return count


async def _each(messages: Iterable[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message


async def _demand_open_topic(settings: Kafka, topic: str, demanded: set[str]) -> None:
    """The producer would ask for a missing topic again and again; say so at once instead, and once for each topic."""
    if topic in demanded:
        return
    consumer = AIOKafkaConsumer(**client_options(settings))
    async with _explained(settings), _started(consumer):
        found = (await topics_named(consumer._client, {topic}))[topic]
    if found.denies(Operation.WRITE):
        raise SourceError(str(topic_denied(settings, topic, Operation.WRITE)))
    if not found.exists:
        raise SourceError(f"there is no topic {topic}: make it first")
    demanded.add(topic)


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
        raise SourceError(f"Kafka at {settings.bootstrap_servers}: {described(error)}") from error
