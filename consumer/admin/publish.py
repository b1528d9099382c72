"""`ragledger publish`: validates JSON lines as events before any of them is published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, NamedTuple

from consumer.decode.lanes import decode
from consumer.events.kind import Kind
from consumer.events.record import StoredRecord
from consumer.events.rejection import Rejected

# Kafka's default of message.max.bytes is 1 MiB, with the header of the batch.
KAFKA_LIMIT_BYTES = 1_048_576 - 1024
LONGEST = 16_777_216  # bytes of a line that are read into memory
CHUNK = 500


class Line(NamedTuple):
    """A line of the input, counted from 1."""

    number: int
    value: bytes


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that ragledger would reject, and why."""

    number: int
    problem: str


def lines(content: Iterable[bytes]) -> Iterator[Line]:
    """Yield the lines that are not blank."""
    for number, text in enumerate(content, 1):
        if text.strip():
            yield Line(number, text.strip())


def validate(
    kind: Kind, topic: str, found: Iterable[Line], *, now_ms: int, max_record_bytes: int = KAFKA_LIMIT_BYTES
) -> tuple[list[Line], list[BadLine]]:
    """Return the lines that would become rows, and the rejected ones.

    :param now_ms: used as the timestamp of the record (milliseconds since 1970)
    :param max_record_bytes: the service's limit; Kafka's default limit applies too
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
    """Validates the lines of a file in chunks, so that memory use does not depend on the length of the file."""

    def __init__(self, kind: Kind, topic: str, *, now_ms: int, max_record_bytes: int) -> None:
        self._kind, self._topic, self._now_ms, self._max_record_bytes = kind, topic, now_ms, max_record_bytes

    def chunks(self, file: BinaryIO, end: int | None = None) -> Iterator[tuple[list[Line], list[BadLine]]]:
        """Yield the valid and the rejected lines of each chunk, from the beginning of the file.

        :param end: stop at this position, so that lines appended later are not read
        """
        file.seek(0)
        found = lines(_bounded(file, end))
        while chunk := list(islice(found, CHUNK)):
            yield validate(self._kind, self._topic, chunk, now_ms=self._now_ms, max_record_bytes=self._max_record_bytes)


def _bounded(file: BinaryIO, end: int | None) -> Iterator[bytes]:
    """Yield each line; only the first bytes of a line that is much too long."""
    while (end is None or file.tell() < end) and (text := file.readline(LONGEST)):
        is_cut = len(text) == LONGEST and not text.endswith(b"\n")
        yield text if text.strip() or not is_cut else b"?"  # a long run of blanks is not an empty line
        while is_cut and (rest := file.readline(LONGEST)):
            is_cut = not rest.endswith(b"\n")


class Acknowledged:
    """Tracks which of the sent lines were acknowledged."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[int, int] = {}  # maps a message's number, in the order of sending, to its line
        self._sent = self._last = 0

    def sending(self, line: int) -> None:
        """Note a line before it is sent."""
        self._waiting[self._sent], self._last = line, line
        self._sent += 1

    def settle(self, message: int) -> None:
        """Note that a message, numbered from 0 in the order of sending, was acknowledged."""
        del self._waiting[message]
        self.count += 1

    @property
    def in_doubt(self) -> int:
        """Number of lines that were sent and not acknowledged."""
        return len(self._waiting)

    @property
    def next_line(self) -> int:
        """The first line that is not known to be in the topic."""
        return next(iter(self._waiting.values()), self._last + 1)
