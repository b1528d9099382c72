"""Kafka, through aiokafka, which only the Kafka adapters import."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    InconsistentGroupProtocolError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    TopicAuthorizationFailedError,
)

from consumer.events.record import Partition
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import (
    Answers,
    Bounds,
    End,
    EpochQuestion,
    NotAdmitted,
    PartitionRecords,
    Position,
    Refusal,
    SourceError,
)
from consumer.ingest.stop_reasons import batch_unreadable, kafka_silent
from consumer.kafka.access import KafkaAccess
from consumer.kafka.connection import described, is_refused, patch_connections
from consumer.kafka.credentials import credentials_for
from consumer.kafka.fetch import Fetching
from consumer.kafka.group import CLIENT_ID
from consumer.kafka.leader_epochs import epoch_ends
from consumer.kafka.leaders import bounds_of
from consumer.kafka.silence import Silence
from consumer.kafka.topic_ids import topic_ids
from consumer.settings.model import Kafka

REQUEST_TIMEOUT_MS = 30_000
COMMIT_SECONDS = 5.0
STOP_SECONDS = 10.0
GROUP_RETRY_SECONDS = 1.0
FETCH_RETRY_SECONDS = 5.0  # a topic that we may not read is tried again so often
HEARTBEAT_MS = 1000  # a member hears of a rebalance with its next heartbeat: everybody waits for the last one

patch_connections()


class SourceListener(Protocol):
    """Who is told what the group decides."""

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """These partitions are ours; they are paused."""
        ...

    async def on_revoked(self, partitions: Collection[Partition]) -> None:
        """Nothing is ours any more once this returns."""
        ...

    def on_position_lost(self, partitions: Collection[Partition]) -> None:
        """The broker no longer holds the offsets we are at; these partitions are paused."""
        ...

    def on_unreadable(self, partition: Partition, first: int, reason: StopReason) -> None:
        """This offset comes next, and cannot be read; the partition is paused."""
        ...


class KafkaSource:
    """A member of the consumer group, as a :class:`consumer.ingest.ports.Source`."""

    def __init__(self, settings: Kafka, topics: Collection[str]) -> None:
        self._settings, self._topics = settings, list(topics)
        self._consumer: Any = None
        self._fetching: Fetching
        self._silence: Silence
        self._reader: SourceListener | None = None
        self._failure: BaseException | None = None
        self._access = KafkaAccess(settings, topics)
        self._withheld: set[TopicPartition] = set()
        self._retry_at = 0.0

    async def start(self, reader: SourceListener) -> None:
        """Join the group; `reader` hears of its decisions. Topics that do not exist yet are read once they do.

        :raises SourceError: no broker can be reached
        """
        self._reader = reader
        consumer = AIOKafkaConsumer(**_consumer_options(self._settings))
        try:
            await consumer.start()
        except KafkaError as error:
            await _stop(consumer, STOP_SECONDS)
            raise self._unreachable(error) from error
        self._consumer, self._fetching, self._silence = consumer, Fetching(consumer), Silence(consumer)
        consumer.subscribe(self._topics, listener=_Listener(self, reader))

    async def stop(self, timeout: float) -> None:
        """Leave the group, waiting so many seconds at most."""
        if self._consumer is not None:
            self._silence.stop()
            await _stop(self._consumer, timeout)

    def _unreachable(self, error: Exception) -> SourceError:
        if is_refused():
            return NotAdmitted(f"no login at {self._settings.bootstrap_servers}: {described(error)}")
        return SourceError(f"no broker of {self._settings.bootstrap_servers} answers: {described(error)}")

    async def poll(self, timeout: float, max_records: int) -> Sequence[PartitionRecords]:
        """See :meth:`consumer.ingest.ports.Source.poll`."""
        if self._failure is not None:
            raise self._failure
        assert self._reader is not None
        positions = self.positions(self._consumer.assignment() - self._consumer.paused())
        self._report_unreadable(self._reader, positions)
        if brought := self._take_brought(self._reader, positions):
            return brought
        self._retry_withheld()
        try:
            fetched = await self._fetching.fetch(int(timeout * 1000), max_records)
        except NoOffsetForPartitionError:
            return []  # the moment between assignment and claim: the claim seeks
        except OffsetOutOfRangeError as error:
            self._lose_position([Partition(*partition) for partition in error.args[0]])
            return []
        except TopicAuthorizationFailedError as error:
            self._withhold(error.args[0])
            return []
        except (GroupAuthorizationFailedError, InconsistentGroupProtocolError) as error:
            await self._join_again(error)
            return []
        except KafkaError as error:
            raise SourceError(f"Kafka at {self._settings.bootstrap_servers} does not let us read: {error}") from error
        ours = self.positions(fetched)  # a rebalance may have come meanwhile
        return [
            PartitionRecords(partition, fetched[TopicPartition(*partition)], position.leader_epoch)
            for partition, position in ours.items()
        ]

    def _report_unreadable(self, reader: SourceListener, positions: Mapping[Partition, Position]) -> None:
        """What was fetched before it has been taken in by now, unless the partition is paused."""
        for found in self._fetching.unreadable(positions):
            self.pause([found.partition])
            reader.on_unreadable(found.partition, found.first, batch_unreadable(found.first, found.last, found.why))

    def _take_brought(
        self, reader: SourceListener, positions: Mapping[Partition, Position]
    ) -> Sequence[PartitionRecords]:
        """What Kafka has not returned where it was fetched, but in an answer about a later offset."""
        brought = []
        for silent in self._silence.watch({place: position.offset for place, position in positions.items()}):
            partition = Partition(*silent.place)
            if silent.until == silent.first:
                self._consumer.seek(TopicPartition(*partition), silent.next)
                brought.append(PartitionRecords(partition, silent.records, silent.leader_epoch))
            else:
                self.pause([partition])
                reader.on_unreadable(partition, silent.first, kafka_silent(silent.first, silent.until, silent.answer))
        return [stretch for stretch in brought if stretch.records]

    def _withhold(self, topic: str) -> None:
        """We may not read this topic: leave it out for a while, so that the others are read."""
        self._access.refuse_fetch(topic)
        active = self._consumer.assignment() - self._consumer.paused()
        self._withheld |= {partition for partition in active if partition.topic == topic}
        self._consumer.pause(*(partition for partition in self._withheld if partition in active))
        self._retry_at = time.monotonic() + FETCH_RETRY_SECONDS

    def _retry_withheld(self) -> None:
        if self._withheld and time.monotonic() >= self._retry_at:
            self._consumer.resume(*(self._withheld & self._consumer.assignment()))
            self._withheld.clear()

    async def _join_again(self, error: KafkaError) -> None:
        """The group does not want us: ask again, but not at once.

        After a heartbeat that was refused aiokafka sends no other until it has joined once more, and raises the same
        error for ever.
        """
        self._access.refuse_group(error)
        self._consumer._coordinator.request_rejoin()
        await asyncio.sleep(GROUP_RETRY_SECONDS)

    def _lose_position(self, partitions: Collection[Partition]) -> None:
        """aiokafka may raise an error it kept from before a rebalance: only what is still ours is meant."""
        assert self._reader is not None
        self._reader.on_position_lost(
            [partition for partition in partitions if partition in self._consumer.assignment()]
        )

    def positions(self, partitions: Collection[Partition]) -> Mapping[Partition, Position]:
        """See :meth:`consumer.ingest.ports.Source.positions`.

        Read from the subscription state because `AIOKafkaConsumer.position` would wait for a partition that has none.
        """
        assignment = self._assignment()
        if assignment is None:
            return {}
        states = ((partition, assignment.state_value(TopicPartition(*partition))) for partition in partitions)
        return {
            Partition(*partition): Position(state.position, getattr(state, "leader_epoch", None))
            for partition, state in states
            if state is not None and state.has_valid_position
        }

    @contextmanager
    def keep_failure(self) -> Iterator[None]:
        """What fails inside is raised by the next poll."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the reading task has to end with it
            self._failure = error

    def _assignment(self) -> Any:
        subscription = self._consumer._subscription.subscription
        return None if subscription is None else subscription.assignment

    def ends(self, partitions: Collection[Partition]) -> Mapping[Partition, End]:
        """See :meth:`consumer.ingest.ports.Source.ends`."""
        assigned = self._consumer.assignment()
        ends = {partition: self._end(TopicPartition(*partition)) for partition in partitions if partition in assigned}
        return {partition: end for partition, end in ends.items() if end is not None}

    def _end(self, partition: TopicPartition) -> End | None:
        stable, high_watermark = self._consumer.last_stable_offset(partition), self._consumer.highwater(partition)
        return None if stable is None or high_watermark is None else End(stable, high_watermark)

    def refusals(self) -> Collection[Refusal]:
        """See :meth:`consumer.ingest.ports.Source.refusals`."""
        return self._access.refusals

    @property
    def missing_topics(self) -> Collection[str]:
        """Topics of ours that did not exist when they were last asked for."""
        return self._access.missing

    async def look_at_access(self) -> None:
        """Ask which topics there are, and what we may use.

        :raises SourceError: the brokers do not answer
        """
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
                await self._access.look(self._consumer._client)
        except (KafkaError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def bounds(self, partitions: Collection[Partition]) -> Answers[Bounds]:
        """See :meth:`consumer.ingest.ports.Source.bounds`."""
        if self._consumer is None:
            raise SourceError("no broker has answered yet")
        try:
            return await bounds_of(self._consumer._client, partitions)
        except KafkaError as error:
            raise self._unreachable(error) from error

    async def epoch_ends(self, questions: Mapping[Partition, EpochQuestion]) -> Answers[int | None]:
        """See :meth:`consumer.ingest.ports.Source.epoch_ends`."""
        try:
            return await epoch_ends(self._consumer._client, questions)
        except KafkaError as error:
            raise self._unreachable(error) from error

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """See :meth:`consumer.ingest.ports.Source.seek`."""
        assigned = self._consumer.assignment()
        for partition, offset in positions.items():
            if partition in assigned:
                self._consumer.seek(TopicPartition(*partition), offset)
        self.resume(positions.keys())

    async def topic_ids(self, topics: Collection[str]) -> Mapping[str, UUID]:
        """See :meth:`consumer.ingest.ports.Source.topic_ids`."""
        try:
            return await topic_ids(self._consumer._client, topics)
        except KafkaError as error:
            raise self._unreachable(error) from error

    async def answers_new_client(self, partitions: Collection[Partition]) -> bool:
        """See :meth:`consumer.ingest.ports.Source.answers_new_client`."""
        client = AIOKafkaConsumer(**client_options(self._settings))
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
                await client.start()
                found = await bounds_of(client._client, partitions)
        except (KafkaError, TimeoutError):
            return False
        finally:
            await _stop(client, STOP_SECONDS)
        return bool(found) or not partitions

    def pause(self, partitions: Collection[Partition] | None = None) -> None:
        """See :meth:`consumer.ingest.ports.Source.pause`."""
        assigned = self._consumer.assignment()
        wanted = assigned if partitions is None else [TopicPartition(*p) for p in partitions if p in assigned]
        self._withheld -= set(wanted)  # who pauses also resumes
        self._consumer.pause(*wanted)

    def hold(self, assigned: Collection[TopicPartition]) -> None:
        """Fetching is unblocked already: pause before anything is awaited, so that nothing is read before its claim.

        aiokafka fetches nothing at all from a broker as long as one of its partitions has no position, which one that
        has stopped might not get for days. So each gets one, from which nothing is fetched while it is paused.
        """
        self.pause()
        self._fetching.forget()
        for partition in assigned:
            self._consumer.seek(partition, 0)

    def joined(self) -> None:
        """The group has taken us in."""
        self._access.joined()

    def resume(self, partitions: Collection[Partition]) -> None:
        """See :meth:`consumer.ingest.ports.Source.resume`."""
        assigned = self._consumer.assignment()
        self._consumer.resume(*(TopicPartition(*p) for p in partitions if p in assigned))

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See :meth:`consumer.ingest.ports.Source.commit`. Of what is not ours any more nothing is to be told."""
        assigned = self._consumer.assignment()
        ours = {TopicPartition(*p): offset for p, offset in offsets.items() if p in assigned}
        try:
            if ours:
                async with asyncio.timeout(COMMIT_SECONDS):
                    await self._consumer.commit(ours)
        except (KafkaError, IllegalStateError, TimeoutError):
            return False
        return True


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """aiokafka logs and swallows what a listener raises, so a failure is kept for the next poll to raise."""

    def __init__(self, source: KafkaSource, reader: SourceListener) -> None:
        self._source, self._reader = source, reader

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        with self._source.keep_failure():
            await self._reader.on_revoked([Partition(*partition) for partition in revoked])

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        with self._source.keep_failure():
            self._source.hold(assigned)
            self._source.joined()
            self._reader.on_assigned([Partition(*partition) for partition in assigned])


async def _stop(consumer: Any, timeout: float) -> None:
    """aiokafka may hang in here and take no cancellation, so it is not waited for any longer."""
    await asyncio.wait({asyncio.create_task(consumer.stop())}, timeout=timeout)


def client_options(settings: Kafka) -> dict[str, Any]:
    """What consumers, producers and admin clients need to talk to these brokers.

    Credentials are taken by each connection when it connects. What stands here for them only satisfies aiokafka.
    """
    return {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": CLIENT_ID,
        "security_protocol": settings.security_protocol.value,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": "",
        "sasl_plain_password": "",
        "sasl_oauth_token_provider": credentials_for(settings),
        "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts nobody
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }


def _consumer_options(settings: Kafka) -> dict[str, Any]:
    return client_options(settings) | {
        "group_id": settings.group_id,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",  # an offset out of range is decided by a person, never silently
        "isolation_level": "read_committed",
        "session_timeout_ms": settings.session_timeout_ms,
        "heartbeat_interval_ms": max(300, min(settings.session_timeout_ms // 3, HEARTBEAT_MS)),
        "max_poll_interval_ms": settings.max_poll_interval_ms,
        "rebalance_timeout_ms": settings.rebalance_timeout_ms,
        "metadata_max_age_ms": settings.metadata_max_age_ms,
        "fetch_max_bytes": settings.fetch_max_bytes,
        "client_rack": settings.client_rack,
    }
