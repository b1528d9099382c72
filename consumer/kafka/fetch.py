"""Fetching through aiokafka, and what of it cannot be read.

Where the records of a batch cannot be told apart, reading ends before it. That is reported once everything before it
has been taken in: with the fetch after the one that met it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.events.record import Partition
from consumer.ingest.ports import Position
from consumer.kafka.unpacking import UnreadableRange, patch_unpacking

patch_unpacking()


class Fetching:
    """Fetches from whatever is assigned."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._met: dict[TopicPartition, UnreadableRange] = {}

    async def fetch(self, timeout_ms: int, max_records: int) -> Mapping[TopicPartition, Sequence[Any]]:
        """The next records.

        :raises KafkaError: aiokafka has given up fetching, which it logs once and tells nobody
        """
        self._raise_if_ended()
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)
        self._met |= {place: records.pop() for place, records in fetched.items() if _ends_unreadable(records)}
        return {place: records for place, records in fetched.items() if records}

    def unreadable(self, positions: Mapping[Partition, Position]) -> Sequence[UnreadableRange]:
        """The unreadable offsets that come next, each returned once.

        :param positions: of the partitions being read; paused ones are left out
        """
        found = [self._met.pop(TopicPartition(*place)) for place in positions if place in self._met]
        return [one for one in found if one.first == positions[one.partition].offset]

    def forget(self) -> None:
        """Partitions were assigned again."""
        self._met.clear()

    def _raise_if_ended(self) -> None:
        ended = self._consumer._fetcher.error_future
        if ended.done():
            ended.result()


def _ends_unreadable(records: Sequence[Any]) -> bool:
    return bool(records) and isinstance(records[-1], UnreadableRange)
