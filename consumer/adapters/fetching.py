"""Fetching through aiokafka, around a record that it cannot unpack, such as one with a header whose name is no UTF-8.

At such a record aiokafka raises, again and again, whichever partitions it was asked for. What it had unpacked before
is lost to the caller, although positions have moved on by then: so they are moved back, and the partition is read
record by record until the guilty one is found.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import FetchResult

from consumer.events.record import Partition


class Unreadable(Exception):
    """The record at `offset` cannot be unpacked, nor can what comes behind it be read. Never quotes the record."""

    def __init__(self, partition: Partition, offset: int) -> None:
        super().__init__(f"the record at offset {offset} of {partition} cannot be unpacked")
        self.partition, self.offset = partition, offset


class Fetching:
    """Fetches from whatever is assigned."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        # Partitions that are read record by record, each until behind the offset at which unpacking has failed.
        self._careful: dict[TopicPartition, int] = {}

    async def fetch(
        self, before: Mapping[Partition, int], timeout_ms: int, max_records: int
    ) -> Mapping[TopicPartition, Sequence[Any]]:
        """The next records; none where some have to be fetched again.

        :param before: the positions now, to go back to
        :raises Unreadable: reading cannot go on in this partition
        :raises KafkaError: aiokafka has given up fetching, which it logs once and tells nobody
        """
        self._raise_if_ended()
        try:
            fetched = await self._fetch(timeout_ms, max_records)
        except Exception as error:
            culprit = _unpacked_when_raised(error)
            if culprit is None:
                if self._careful:  # one call of two may have returned records before the other one raised
                    self._go_back(before)
                raise
            self._go_back(before)
            self._suspect(culprit)
            return {}
        self._forget_innocent(before)
        return fetched

    def _raise_if_ended(self) -> None:
        ended = self._consumer._fetcher.error_future
        if ended.done():
            ended.result()

    async def _fetch(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, Sequence[Any]]:
        if not self._careful:
            return dict(await self._consumer.getmany(timeout_ms=timeout_ms, max_records=max_records))
        fetched = dict(await self._consumer.getmany(*self._careful, timeout_ms=timeout_ms, max_records=1))
        others = self._consumer.assignment() - self._careful.keys()
        if others:
            fetched |= await self._consumer.getmany(*others, timeout_ms=0, max_records=max_records)
        return fetched

    def _go_back(self, before: Mapping[Partition, int]) -> None:
        for partition, position in before.items():
            if partition in self._consumer.assignment():
                self._consumer.seek(TopicPartition(*partition), position)

    def _suspect(self, culprit: FetchResult) -> None:
        """Read it record by record from now on; where that was so already, there is no way past."""
        partition, offset = culprit._topic_partition, culprit._partition_records.next_fetch_offset
        if partition not in self._careful:
            self._careful[partition] = offset
        else:
            del self._careful[partition]
            raise Unreadable(Partition(*partition), offset) from None

    def _forget_innocent(self, before: Mapping[Partition, int]) -> None:
        behind = [
            partition for partition, offset in self._careful.items() if before.get(partition, offset + 1) > offset
        ]
        for partition in behind:
            del self._careful[partition]


def _unpacked_when_raised(error: Exception) -> FetchResult | None:
    """What aiokafka was unpacking, which its errors do not say; None where it was something else that failed."""
    frames = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((one for one in frames if isinstance(one, FetchResult)), None)
