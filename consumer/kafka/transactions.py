"""Writes a topic in Kafka's transactions, and reads back the committed records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced, TransactionalIdAuthorizationFailed

from consumer.events.record import Partition
from consumer.ingest.ports import Bounds, SourceError
from consumer.kafka.access import transactional_id_denied
from consumer.kafka.consumer import client_options
from consumer.kafka.tools import Message, patient_bounds_of
from consumer.settings.servers import Kafka

START_SECONDS = 60.0
WRITE_SECONDS = 60.0
READ_SECONDS = 60.0
STOP_SECONDS = 10.0
TRANSACTION_TIMEOUT_MS = 60_000

Ends = Mapping[int, int]
"""For each partition of a topic, an offset at which it ended."""


class TakenOver(SourceError):
    """Another process now writes under the transactional id."""


class Vanished(Exception):
    """The topic no longer contains all records after an offset."""


class TransactionalTopic:
    """One topic, written by one process at a time under one transactional id.

    Entering the context waits until the transaction of an earlier process is committed or aborted. From then on Kafka
    refuses writes of that process.

    :raises TakenOver: every method raises it if another process has entered the context since
    :raises SourceError: every method raises it if Kafka cannot be used now
    """

    def __init__(self, settings: Kafka, topic: str, transactional_id: str) -> None:
        self._settings, self._topic, self._transactional_id = settings, topic, transactional_id
        self._producer: Any = None

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(
            **client_options(self._settings),
            transactional_id=self._transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            compression_type="zstd",
        )
        try:
            async with self._explained(START_SECONDS):
                await producer.start()
        except SourceError:
            await _stop(producer)
            raise
        self._producer = producer
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await _stop(self._producer)

    async def ends(self) -> Ends:
        """Return the current end offset of each partition."""
        bounds = await self._bounds(self._topic)
        return {partition.partition: found.end for partition, found in bounds.items()}

    async def write(self, messages: Sequence[Message]) -> None:
        """Write all messages or none. After an error it is unknown whether they were written; the next process can
        check.
        """
        async with self._explained(WRITE_SECONDS), self._producer.transaction():
            sent = [await self._send(message) for message in messages]
            await asyncio.gather(*sent)

    async def _send(self, message: Message) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await self._producer.send(
            message.topic, message.value, key=message.key, headers=list(message.headers)
        )
        return future

    async def values_since(self, topic: str, ends: Ends, header: str) -> set[bytes]:
        """Return the values of a header in the committed records of a topic, from an earlier end on.

        :raises Vanished: some of these records may be deleted
        """
        bounds = await self._bounds(topic)
        if not bounds:
            raise Vanished(f"the topic {topic} no longer exists")
        begin = {partition: _begin(partition, found, ends) for partition, found in bounds.items()}
        consumer = AIOKafkaConsumer(**client_options(self._settings), isolation_level="read_committed")
        async with self._explained(READ_SECONDS), _started(consumer):
            return {value async for value in _values(consumer, begin, bounds, header)}

    async def _bounds(self, topic: str) -> Mapping[Partition, Bounds]:
        """Return first and end offsets; the end includes records that are not committed."""
        consumer = AIOKafkaConsumer(**client_options(self._settings))
        async with self._explained(READ_SECONDS), _started(consumer):
            cluster = await consumer._client.fetch_all_metadata()
            partitions = [Partition(topic, n) for n in cluster.partitions_for_topic(topic) or ()]
            bounds = await patient_bounds_of(consumer._client, partitions, READ_UNCOMMITTED)
        if bounds.unanswered:
            raise SourceError("; ".join(f"{partition}: {why}" for partition, why in sorted(bounds.unanswered.items())))
        return bounds

    @asynccontextmanager
    async def _explained(self, seconds: float) -> AsyncIterator[None]:
        servers = self._settings.bootstrap_servers
        try:
            async with asyncio.timeout(seconds):
                yield
        except TransactionalIdAuthorizationFailed as error:
            raise SourceError(str(transactional_id_denied(self._settings, self._transactional_id))) from error
        except (ProducerFenced, InvalidProducerEpoch) as error:
            problem = f"another process now writes under the transactional id {self._transactional_id}"
            raise TakenOver(problem) from error
        except KafkaError as error:
            raise SourceError(f"Kafka at {servers}: {str(error) or type(error).__name__}") from error
        except TimeoutError:
            problem = f"no answer within {seconds:.0f} s, or another program's transaction stays open on the topic"
            raise SourceError(f"Kafka at {servers}: {problem}") from None


def _begin(partition: Partition, bounds: Bounds, ends: Ends) -> int:
    begin = ends.get(partition.partition, 0)
    if bounds.first > begin:
        raise Vanished(f"{partition} now begins at offset {bounds.first}, so records from {begin} on are deleted")
    if bounds.end < begin:
        raise Vanished(f"{partition} now ends at offset {bounds.end}, and ended at {begin} before: it was recreated")
    return begin


async def _values(
    consumer: Any, begin: Mapping[Partition, int], bounds: Mapping[Partition, Bounds], header: str
) -> AsyncIterator[bytes]:
    partitions = [TopicPartition(*partition) for partition in begin]
    consumer.assign(partitions)
    for partition in partitions:
        consumer.seek(partition, begin[partition])
    while [p for p in partitions if await consumer.position(p) < bounds[p].end]:
        fetched = await consumer.getmany(timeout_ms=250)
        for record in (record for records in fetched.values() for record in records):
            for name, value in record.headers:
                if name == header and value:
                    yield value


@asynccontextmanager
async def _started(client: Any) -> AsyncIterator[None]:
    try:
        await client.start()
        yield
    finally:
        await _stop(client)


async def _stop(client: Any) -> None:
    """Stop the client, and give up after some seconds: aiokafka may hang and ignore its cancellation."""
    done, _ = await asyncio.wait({asyncio.create_task(client.stop())}, timeout=STOP_SECONDS)
    for task in done:
        task.exception()  # retrieved, or asyncio would log it
