"""Reads bounds, publishes records and creates topics, for the commands and the maintenance jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import KafkaError, NoError, OffsetOutOfRangeError, TopicAlreadyExistsError, for_code

from consumer.events.record import Partition
from consumer.ingest.log_watch import question_about
from consumer.ingest.offsets import Claim
from consumer.ingest.ports import Answers, Bounds, Refusal, SourceError
from consumer.kafka.access import denied_topics, topic_denied
from consumer.kafka.client_patches import described
from consumer.kafka.consumer import client_options
from consumer.kafka.leader_epochs import epoch_ends
from consumer.kafka.leaders import bounds_of
from consumer.kafka.topic_ids import Operation, topics_named
from consumer.kafka.unpacking import UnreadableRange
from consumer.settings.servers import Kafka

IN_FLIGHT = 1000
PATIENCE_SECONDS, RETRY_SECONDS = 2.0, 0.25
READ_SECONDS = 5.0
_POLL_MS = 500
AS_THE_BROKER_HAS_IT = -1
"""The number of partitions or replicas is the broker's default (KIP-464)."""


class Message(NamedTuple):
    """A record to publish."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int | None = None


class TopicsLook(NamedTuple):
    """The answers of the brokers about topics.

    :param bounds: the bounds of each partition, without topics that do not exist or that we may not see
    :param denied: the topics that we may not read
    """

    bounds: Answers[Bounds]
    denied: Sequence[Refusal]

    @property
    def hidden(self) -> Sequence[Refusal]:
        """The topics that we may not even see."""
        shown = {partition.topic for partition in (*self.bounds, *self.bounds.unanswered)}
        return [refusal for refusal in self.denied if refusal.name not in shown]


async def look_at_topics(settings: Kafka, topics: Collection[str]) -> TopicsLook:
    """Return the bounds of every partition of the topics, and the topics that we may not read.

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
    """Return the bounds of the partitions. A new topic has no leaders yet, so the request is repeated for two seconds.

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
    """Return, for each partition, the end offset of the records written under the claim's leader epoch or earlier ones.

    :returns: None if the leader records no epochs. A partition is left out if the leader of the claim still leads it,
        or if no epoch is known.
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


async def is_readable(settings: Kafka, partition: Partition, first: int, until: int) -> bool:
    """Whether Kafka now returns the records of the offsets from `first` up to, but not including, `until`.

    Records up to a damaged batch are sufficient. Otherwise the last offset must come, because Kafka also returns the
    records of a batch whose first offset is wrong, at wrong offsets.

    :raises SourceError: Kafka does not answer
    """
    place, newest = TopicPartition(*partition), first - 1
    options = client_options(settings) | {"auto_offset_reset": "none", "isolation_level": "read_committed"}
    consumer = AIOKafkaConsumer(**options)
    async with _explained(settings), _started(consumer):
        consumer.assign([place])
        consumer.seek(place, first)
        with suppress(TimeoutError, OffsetOutOfRangeError):  # retention may have deleted the records meanwhile
            async with asyncio.timeout(READ_SECONDS):
                while newest < until - 1:
                    for one in (await consumer.getmany(place, timeout_ms=_POLL_MS)).get(place, ()):
                        if isinstance(one, UnreadableRange):
                            return newest >= first
                        if one.offset >= until:
                            return newest == until - 1
                        newest = one.offset
    return newest == until - 1


async def read_bounds(settings: Kafka, topics: Collection[str]) -> Answers[Bounds]:
    """Return the bounds of every partition of the topics, without topics that do not exist.

    :raises SourceError: Kafka does not answer, or we may not see a topic
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
    """Publish the messages, and return their number.

    Every in-sync replica acknowledges each record, and each record is written once. Only the messages in flight are
    in memory.

    :param acknowledged: called for each acknowledged record with the index of its message
    :raises SourceError: Kafka does not answer, or refuses a record
    """
    demanded: set[str] = set()
    remaining = aiter(messages) if isinstance(messages, AsyncIterable) else _each(messages)
    first = await anext(remaining, None)
    if first is None:
        return 0
    # Without a right to write, the producer would not start; the check gives a better error.
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
    """Check once for each topic that it exists and that we may write to it. The producer would wait for a missing
    topic.

    :raises SourceError: it does not exist, or we may not write to it
    """
    if topic in demanded:
        return
    consumer = AIOKafkaConsumer(**client_options(settings))
    async with _explained(settings), _started(consumer):
        found = (await topics_named(consumer._client, {topic}))[topic]
    if found.denies(Operation.WRITE):
        raise SourceError(str(topic_denied(settings, topic, Operation.WRITE)))
    if not found.exists:
        raise SourceError(f"there is no topic {topic}: create it first")
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
    """Wait for one record or for all, and remove the finished ones from `waiting`.

    The acknowledged records are reported before an error is raised.
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
    """Create the topics that do not exist yet.

    :raises SourceError: Kafka does not answer, or refuses to create a topic
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    async with _explained(settings):
        await admin.start()
        try:
            for topic in topics:
                # NewTopic accepts AS_THE_BROKER_HAS_IT only together with replica_assignments.
                replicas: dict[str, Any] = (
                    {"replica_assignments": {}} if AS_THE_BROKER_HAS_IT in (partitions, replication) else {}
                )
                await _create_topic(admin, NewTopic(topic, partitions, replication, **replicas))
        finally:
            await admin.close()


async def _create_topic(admin: Any, topic: NewTopic) -> None:
    """Create a topic, and raise the errors in the broker's answer: aiokafka returns them."""
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
