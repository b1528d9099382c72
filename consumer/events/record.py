"""The record as every pure part sees it: the shape of aiokafka's ConsumerRecord, without importing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """One partition of one topic. Equal to, and hashed as, aiokafka's TopicPartition."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Record(Protocol):
    """One Kafka record. `timestamp` is in milliseconds since 1970, -1 when the record has none."""

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
    """A record that does not come from a fetch: a dead letter's original, or a line to be published."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class UnreadableRecord(NamedTuple):
    """A record that can be told from the others and not be read as a whole; `problem` says why.

    A header's name that is not UTF-8 is decoded with `surrogateescape`. Where key, value and headers cannot be told
    apart, `value` is the whole record.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    problem: str
