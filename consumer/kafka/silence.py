"""Finds partitions from which Kafka returns no records, although it has records at the next offset.

If the file of a partition is damaged, for example in the length of a batch, the broker does not find the records after
the damage. It always answers with no bytes or with an error. In both cases aiokafka repeats the fetch without end. So
if the position of a partition has not moved for some seconds, this module fetches the next offset in a separate
request. If that returns no records either, it tries later offsets until one returns records.

These records may be in a batch that begins at the position, because a segment's index has the last offset of each
batch. Then no record is missing, and the batch is read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException, KafkaError, NoError, UnknownError, for_code
from aiokafka.protocol.fetch import FetchRequest

from consumer.kafka.unpacking import Batches, PartitionUnpacker, UnreadableRange

AFTER_SECONDS = 10.0
TRIES = 3
TRY_SECONDS = 1.0
# Segments are indexed every 4 KiB, so a broker finds records again soon after a damaged batch. Beyond this distance the
# steps double, and then a binary search follows.
NEAR = 2_000
_WAIT_MS = 500  # reading from tiered storage takes longer
_WITH_RACKS, _ABORTED_AT = 11, -3  # since this version a preferred replica precedes the records
_NEVER_GOOD = (CorruptRecordException, UnknownError)


@dataclass(frozen=True, slots=True)
class Silent:
    """Kafka returns no record at the offset `first`.

    :param until: the next offset whose record Kafka returns; None if there is none; `first` if a request for a later
        offset returned the records
    :param answer: the answer of Kafka at `first`, for the log
    :param records: the records that a request for a later offset returned; `next` is the offset after them,
        `leader_epoch` the epoch of their leader
    """

    place: TopicPartition
    first: int
    until: int | None
    answer: str
    records: Sequence[Any] = ()
    next: int = 0
    leader_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer at an offset. `silence` describes an answer without records; it is empty if records came, or if there
    was no answer.
    """

    silence: str = ""
    raw: bytes = b""
    aborted: Sequence[Any] = field(default=())


class Silence:
    """Watches the partitions that are being read, and sends its own requests in a separate task."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._since: dict[TopicPartition, tuple[int, float]] = {}
        self._asking: asyncio.Task[Silent | None] | None = None

    def watch(self, positions: Mapping[TopicPartition, int]) -> Sequence[Silent]:
        """Return the partitions for which a check has found that Kafka returns no records.

        :param positions: the next offset of each partition that is being read
        """
        now = time.monotonic()
        known, self._since = self._since, {}
        for place, position in positions.items():
            before = known.get(place)
            self._since[place] = before if before is not None and before[0] == position else (position, now)
        if self._asking is None:
            self._ask_for_one(now)
            return []
        return self._found(positions) if self._asking.done() else []

    def stop(self) -> None:
        """Cancel the running check."""
        if self._asking is not None:
            self._asking.cancel()

    def _ask_for_one(self, now: float) -> None:
        for place, (position, since) in self._since.items():
            if now - since >= AFTER_SECONDS and self._waits(place, position):
                self._asking = asyncio.create_task(self._ask(place, position))
                return

    def _waits(self, place: TopicPartition, position: int) -> bool:
        """Whether earlier fetches have shown that there are records to read."""
        stable = self._consumer.last_stable_offset(place)
        return stable is None or stable > position

    def _found(self, positions: Mapping[TopicPartition, int]) -> Sequence[Silent]:
        assert self._asking is not None
        found, self._asking = self._asking.result(), None
        self._since.clear()
        return [found] if found is not None and positions.get(found.place) == found.first else []

    async def _ask(self, place: TopicPartition, position: int) -> Silent | None:
        try:
            for _ in range(TRIES):
                answer = await self._answer(place, position, _WAIT_MS)
                if not answer.silence:
                    return None
                await asyncio.sleep(TRY_SECONDS)
            end = (await self._consumer.end_offsets([place]))[place]
            return _silent(place, position, answer.silence, await self._next_answer(place, position, end))
        except KafkaError:
            return None

    async def _next_answer(self, place: TopicPartition, position: int, end: int) -> _Answer | None:
        """Return the answer at the first later offset that returns records; None if none does."""
        near = min(end, position + NEAR)
        for offset in range(position + 1, near):
            if not (answer := await self._answer(place, offset)).silence:
                return answer
        silent, step, found = near - 1, NEAR, None
        while found is None:
            if silent >= end - 1:
                return None
            returned, step = min(silent + step, end - 1), 2 * step
            answer = await self._answer(place, returned)
            silent, found = (returned, None) if answer.silence else (silent, answer)
        while returned - silent > 1:
            middle = (silent + returned) // 2
            answer = await self._answer(place, middle)
            silent, returned, found = (middle, returned, found) if answer.silence else (silent, middle, answer)
        return found

    async def _answer(self, place: TopicPartition, offset: int, wait_ms: int = 0) -> _Answer:
        """Fetch an offset.

        :raises KafkaError: Kafka does not answer
        """
        client = self._consumer._client
        leader = client.cluster.leader_for_partition(place)
        if leader is None or leader == -1:
            return _Answer()
        wanted = [(place.topic, [(place.partition, offset, 1)])]
        # A broker answers the requests of a connection in order. On the connection of the fetches, this request would
        # wait.
        asked = FetchRequest(wait_ms, 1, 1, READ_COMMITTED, wanted)
        response = await client.send(leader, asked, group=ConnectionGroup.COORDINATION)
        for _, partitions in response.topics:
            for _, code, _, stable, *more in partitions:
                raw, aborted = more[-1] or b"", more[_ABORTED_AT if response.API_VERSION >= _WITH_RACKS else -2]
                return _Answer(_silence(for_code(code), offset, stable, raw), raw, aborted or ())
        return _Answer()  # a used-up quota causes this


def _silence(error: Any, offset: int, stable: int, raw: bytes) -> str:
    if error in _NEVER_GOOD:
        return f"the error {error.__name__} ({error.errno})"
    if error is NoError and offset < stable and not Batches(raw).has_next():
        return "an empty answer" if not raw else "bytes that cannot be a batch"
    return ""


def _silent(place: TopicPartition, position: int, answer: str, found: _Answer | None) -> Silent | None:
    if found is None:
        return Silent(place, position, None, answer)
    batches = Batches(found.raw)
    if not batches.has_next():
        return None  # the records have been deleted meanwhile
    if (begin := batches.next_base(position)) > position:
        return Silent(place, position, begin, answer)
    unpacked = PartitionUnpacker(place, batches, found.aborted, position, None, None, True, READ_COMMITTED)
    records = [record for record in unpacked if not isinstance(record, UnreadableRange)]
    return Silent(place, position, position, answer, records, unpacked.next_fetch_offset, unpacked.leader_epoch)
