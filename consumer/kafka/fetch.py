"""Fetches records with aiokafka, and keeps the ranges of offsets that cannot be read.

If a batch cannot be divided into records, reading ends before it. The next fetch reports this, because by then the
pipeline has the records before the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from consumer.events.record import Partition
from consumer.ingest.ports import Position
from consumer.kafka.unpacking import UnreadableRange


class Fetching:
    """Fetches from the assigned partitions."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._met: dict[TopicPartition, UnreadableRange] = {}

    async def fetch(self, timeout_ms: int, max_records: int) -> Mapping[TopicPartition, Sequence[Any]]:
        """Return the next records.

        :raises KafkaError: aiokafka has stopped fetching, which it only logs
        """
        self._raise_if_ended()
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms, max_records=max_records)
        self._met |= {place: records.pop() for place, records in fetched.items() if _ends_unreadable(records)}
        return {place: records for place, records in fetched.items() if records}

    def unreadable(self, positions: Mapping[Partition, Position]) -> Sequence[UnreadableRange]:
        """Return the unreadable ranges that begin at the next offset of their partition. Each is returned once.

        :param positions: the positions of the partitions that are read, without paused ones
        """
        found = [self._met.pop(TopicPartition(*place)) for place in positions if place in self._met]
        return [one for one in found if one.first == positions[one.partition].offset]

    def forget(self) -> None:
        """Drop all ranges after an assignment."""
        self._met.clear()

    def _raise_if_ended(self) -> None:
        ended = self._consumer._fetcher.error_future
        if ended.done():
            ended.result()


def _ends_unreadable(records: Sequence[Any]) -> bool:
    return bool(records) and isinstance(records[-1], UnreadableRange)
