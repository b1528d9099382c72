"""How many records are decoded between two turns of the event loop, so that it never blocks for long."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from consumer.events.record import Record

# The most expensive JSON takes about 0.3 s per megabyte, so this much takes about 20 ms.
LEAST_BYTES = 65_536
_VALUE, _HEADERS = attrgetter("value"), attrgetter("headers")


class Slicer:
    """Cuts records into slices. The time that a slice took decides how many bytes the next one may have.

    A larger record is a slice by itself, and is decoded in a thread.

    :param records: maximum number of records in a slice
    :param size: maximum bytes of a slice
    :param seconds: how long decoding a slice should take at most
    """

    def __init__(self, records: int, size: int, seconds: float) -> None:
        self._records, self._most, self._seconds = records, size, seconds
        self._size = size

    def cut(self, records: Sequence[Record], start: int) -> Sequence[Record]:
        """The slice that begins at `start`; it has at least one record."""
        found = records[start : start + self._records]
        while len(found) > 1 and _bytes_of(found) > self._size:
            found = found[: len(found) // 2]
        return found

    def is_large(self, found: Sequence[Record]) -> bool:
        """Whether a slice would block the event loop for too long."""
        return len(found) == 1 and _bytes_of(found) > self._size

    def took(self, found: Sequence[Record], seconds: float) -> None:
        """Adapt to the seconds that decoding a slice on the event loop took."""
        if seconds > self._seconds:
            fitting = int(_bytes_of(found) * self._seconds / seconds)
            self._size = max(min(fitting, self._size), LEAST_BYTES)
        elif seconds < self._seconds / 2:
            self._size = min(2 * self._size, self._most)


def _bytes_of(records: Sequence[Record]) -> int:
    """Size of values and headers. If no record has headers, only functions in C run for each record."""
    values = sum(map(len, filter(None, map(_VALUE, records))))
    return values + sum(len(name) + len(value or b"") for headers in map(_HEADERS, records) for name, value in headers)
