"""Reads Kafka as a member of the consumer group, with aiokafka."""

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
from consumer.kafka.client_patches import described, is_refused
from consumer.kafka.credentials import credentials_for
from consumer.kafka.fetch import Fetching
from consumer.kafka.group import CLIENT_ID
from consumer.kafka.leader_epochs import epoch_ends
from consumer.kafka.leaders import bounds_of
from consumer.kafka.silence import Silence
from consumer.kafka.topic_ids import topic_ids
from consumer.settings.servers import Kafka

REQUEST_TIMEOUT_MS = 30_000
COMMIT_SECONDS = 5.0
STOP_SECONDS = 10.0
GROUP_RETRY_SECONDS = 1.0
FETCH_RETRY_SECONDS = 5.0  # the interval of attempts to read a topic that we may not read
HEARTBEAT_MS = 500  # a member learns of a rebalance at its next heartbeat, and all wait for the last member


class SourceListener(Protocol):
    """Receives the decisions of the group."""

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """The group has assigned these partitions; they are paused."""
        ...

    async def on_revoked(self, partitions: Collection[Partition]) -> None:
        """The group has revoked all partitions. It may assign them to other members once this returns."""
        ...

    def on_position_lost(self, partitions: Collection[Partition]) -> None:
        """The broker no longer holds the offsets to read next; these partitions are paused."""
        ...

    def on_unreadable(self, partition: Partition, first: int, reason: StopReason) -> None:
        """The next offset of the partition cannot be read; the partition is paused."""
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
        """Join the group, and report its decisions to `reader`. Missing topics are read once they exist.

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
        """Leave the group, and wait for at most `timeout` seconds."""
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
            return []  # assigned but not claimed yet: the claim sets the position
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
        ours = self.positions(fetched)  # a rebalance during the fetch may have revoked some
        return [
            PartitionRecords(partition, fetched[TopicPartition(*partition)], position.leader_epoch)
            for partition, position in ours.items()
        ]

    def _report_unreadable(self, reader: SourceListener, positions: Mapping[Partition, Position]) -> None:
        """Report unreadable offsets. The pipeline now has the records before them, unless the partition is paused."""
        for found in self._fetching.unreadable(positions):
            self.pause([found.partition])
            reader.on_unreadable(found.partition, found.first, batch_unreadable(found.first, found.last, found.why))

    def _take_brought(
        self, reader: SourceListener, positions: Mapping[Partition, Position]
    ) -> Sequence[PartitionRecords]:
        """Return the records that Kafka did not return at their own offset, but in the answer for a later offset."""
        brought = []
        for silent in self._silence.watch({place: position.offset for place, position in positions.items()}):
            partition = Partition(*silent.place)
            if silent.until == silent.first:
                self._consumer.seek(TopicPartition(*partition), silent.next)
                brought.append(PartitionRecords(partition, silent.records, silent.leader_epoch))
            else:
                self.pause([partition])
                reader.on_unreadable(partition, silent.first, kafka_silent(silent.first, silent.until, silent.answer))
        return [records for records in brought if records.records]

    def _withhold(self, topic: str) -> None:
        """Pause a topic that we may not read for a few seconds, because its error would stop the others too."""
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
        """Join again, after a delay, a group that has rejected this replica.

        After a refused heartbeat aiokafka sends no other until it has joined again, and raises the same error at
        each call.
        """
        self._access.refuse_group(error)
        self._consumer._coordinator.request_rejoin()
        await asyncio.sleep(GROUP_RETRY_SECONDS)

    def _lose_position(self, partitions: Collection[Partition]) -> None:
        """Report lost positions of assigned partitions. aiokafka may raise an error from before a rebalance."""
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
        """Keep an exception of this context; the next poll raises it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the reading task must end with any error
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
        """The topics of the settings that did not exist at the last check."""
        return self._access.missing

    async def look_at_access(self) -> None:
        """Check which topics exist, and which topics and groups we may use.

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
        self._withheld -= set(wanted)  # a partition that the caller pauses is also resumed by the caller
        self._consumer.pause(*wanted)

    def hold(self, assigned: Collection[TopicPartition]) -> None:
        """Pause new partitions before anything is awaited, so that no record is read before its partition is claimed.

        aiokafka fetches no records from a broker while one of the broker's partitions has no position. A stopped
        partition may have none for days. So each gets a position; a paused partition is not fetched.
        """
        self.pause()
        self._fetching.forget()
        for partition in assigned:
            self._consumer.seek(partition, 0)

    def joined(self) -> None:
        """The group has accepted this replica."""
        self._access.joined()

    def resume(self, partitions: Collection[Partition]) -> None:
        """See :meth:`consumer.ingest.ports.Source.resume`."""
        assigned = self._consumer.assignment()
        self._consumer.resume(*(TopicPartition(*p) for p in partitions if p in assigned))

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See :meth:`consumer.ingest.ports.Source.commit`. Offsets of revoked partitions are left out."""
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
    """Keeps exceptions for the next poll, because aiokafka only logs what a listener raises."""

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
    """Stop the consumer, and give up after `timeout` seconds: aiokafka may hang and ignore its cancellation."""
    await asyncio.wait({asyncio.create_task(consumer.stop())}, timeout=timeout)


def client_options(settings: Kafka) -> dict[str, Any]:
    """Return the options that consumers, producers and admin clients have in common.

    Each connection obtains its credentials when it connects. The credentials here only satisfy aiokafka's checks.
    """
    return {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": CLIENT_ID,
        "security_protocol": settings.security_protocol.value,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": "",
        "sasl_plain_password": "",
        "sasl_oauth_token_provider": credentials_for(settings),
        "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # trusts no certificate
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }


def _consumer_options(settings: Kafka) -> dict[str, Any]:
    return client_options(settings) | {
        "group_id": settings.group_id,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",  # if an offset is out of range, a person decides
        "isolation_level": "read_committed",
        "session_timeout_ms": settings.session_timeout_ms,
        "heartbeat_interval_ms": max(300, min(settings.session_timeout_ms // 3, HEARTBEAT_MS)),
        "max_poll_interval_ms": settings.max_poll_interval_ms,
        "rebalance_timeout_ms": settings.rebalance_timeout_ms,
        "metadata_max_age_ms": settings.metadata_max_age_ms,
        "fetch_max_bytes": settings.fetch_max_bytes,
        "client_rack": settings.client_rack,
    }
