"""How much is decoded at a time, so that the event loop turns whatever the records are."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from consumer.events.record import Record

# The most expensive JSON there is costs about 0.3 s a megabyte: of this little, some 20 ms.
LEAST_BYTES = 65_536
_VALUE, _HEADERS = attrgetter("value"), attrgetter("headers")


class Slicer:
    """Cuts records into slices, and learns from the time that each has taken how many bytes the next one may have.

    A record that is larger than a slice may be is a slice by itself, to be decoded beside the loop.

    :param records: of one slice at most
    :param size: bytes of one slice at most
    :param seconds: that one slice should take at most
    """

    def __init__(self, records: int, size: int, seconds: float) -> None:
        self._records, self._most, self._seconds = records, size, seconds
        self._size = size

    def cut(self, records: Sequence[Record], start: int) -> Sequence[Record]:
        """The slice that begins at `start`; one record at least."""
        found = records[start : start + self._records]
        while len(found) > 1 and _bytes_of(found) > self._size:
            found = found[: len(found) // 2]
        return found

    def is_large(self, found: Sequence[Record]) -> bool:
        """Whether a slice takes too long for the loop."""
        return len(found) == 1 and _bytes_of(found) > self._size

    def took(self, found: Sequence[Record], seconds: float) -> None:
        """A slice took so many seconds on the loop."""
        if seconds > self._seconds:
            fitting = int(_bytes_of(found) * self._seconds / seconds)
            self._size = max(min(fitting, self._size), LEAST_BYTES)
        elif seconds < self._seconds / 2:
            self._size = min(2 * self._size, self._most)


def _bytes_of(records: Sequence[Record]) -> int:
    """Without a call of ours for each record, where none has headers."""
    values = sum(map(len, filter(None, map(_VALUE, records))))
    return values + sum(len(name) + len(value or b"") for headers in map(_HEADERS, records) for name, value in headers)
