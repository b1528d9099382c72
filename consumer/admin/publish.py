"""`ragledger publish`: hold JSON lines against the event's declaration before any of them is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, NamedTuple

from consumer.decode.lanes import decode
from consumer.events.kind import Kind
from consumer.events.record import StoredRecord
from consumer.events.rejection import Rejected

# message.max.bytes is a mebibyte unless changed, a batch's header included.
KAFKA_LIMIT_BYTES = 1_048_576 - 1024
LONGEST = 16_777_216  # of a line that is read whole
CHUNK = 500


class Line(NamedTuple):
    """A line of the input, counted from 1."""

    number: int
    value: bytes


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that ragledger would not store, and why, field by field."""

    number: int
    problem: str


def lines(content: Iterable[bytes]) -> Iterator[Line]:
    """The lines that hold something."""
    for number, text in enumerate(content, 1):
        if text.strip():
            yield Line(number, text.strip())


def sort_out(
    kind: Kind, topic: str, found: Iterable[Line], *, now_ms: int, max_record_bytes: int = KAFKA_LIMIT_BYTES
) -> tuple[list[Line], list[BadLine]]:
    """The lines that would become rows, and those that would not.

    :param now_ms: stands in for the record's timestamp (milliseconds since 1970)
    :param max_record_bytes: the service's limit; Kafka's own default holds as well
    """
    good, bad = [], []
    limit = min(max_record_bytes, KAFKA_LIMIT_BYTES)
    for line in found:
        try:
            decode(kind, StoredRecord(topic, 0, line.number, now_ms, None, line.value), limit)
        except Rejected as rejected:
            bad.append(BadLine(line.number, str(rejected)))
        else:
            good.append(line)
    return good, bad


class Validation:
    """Holds the lines of a file against a declaration chunk by chunk: however long it is, little of it is in memory."""

    def __init__(self, kind: Kind, topic: str, *, now_ms: int, max_record_bytes: int) -> None:
        self._kind, self._topic, self._now_ms, self._max_record_bytes = kind, topic, now_ms, max_record_bytes

    def chunks(self, file: BinaryIO, end: int | None = None) -> Iterator[tuple[list[Line], list[BadLine]]]:
        """The right and the wrong lines from the beginning of a file on.

        :param end: the position at which lines are no longer read; what was appended since is no part of it
        """
        file.seek(0)
        found = lines(_bounded(file, end))
        while chunk := list(islice(found, CHUNK)):
            yield sort_out(self._kind, self._topic, chunk, now_ms=self._now_ms, max_record_bytes=self._max_record_bytes)


def _bounded(file: BinaryIO, end: int | None) -> Iterator[bytes]:
    """Each line, of one that is far too long no more than its beginning."""
    while (end is None or file.tell() < end) and (text := file.readline(LONGEST)):
        is_cut = len(text) == LONGEST and not text.endswith(b"\n")
        yield text if text.strip() or not is_cut else b"?"  # blanks without end are no empty line
        while is_cut and (rest := file.readline(LONGEST)):
            is_cut = not rest.endswith(b"\n")


class Acknowledged:
    """Which of the lines that were sent are known to be in the topic."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[int, int] = {}  # the line of each message by its place, in the order of sending
        self._sent = self._last = 0

    def sending(self, line: int) -> None:
        """A line is about to be sent."""
        self._waiting[self._sent], self._last = line, line
        self._sent += 1

    def settle(self, place: int) -> None:
        """The message at this place, counted from 0, was acknowledged."""
        del self._waiting[place]
        self.count += 1

    @property
    def in_doubt(self) -> int:
        """How many were sent and not acknowledged."""
        return len(self._waiting)

    @property
    def next_line(self) -> int:
        """Every line before this one is in the topic."""
        return next(iter(self._waiting.values()), self._last + 1)
