"""Records: the attributes of aiokafka's ConsumerRecord, without an import of aiokafka."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One partition of one topic. It is equal to aiokafka's TopicPartition, and has the same hash."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Record(Protocol):
    """One Kafka record. `timestamp` is in milliseconds since 1970, or -1 if the record has none."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


class StoredRecord(NamedTuple):
    """A record that does not come from a fetch: the original of a dead letter, or a line to publish."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class UnreadableRecord(NamedTuple):
    """A record whose boundaries are known, but which cannot be read completely; `problem` says why.

    A header's name that is not UTF-8 is decoded with `surrogateescape`. If key, value and headers cannot be
    separated, `value` is the whole record.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    problem: str
